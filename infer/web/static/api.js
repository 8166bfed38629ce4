// Talking to the studio: JSON requests, and uploads that tell how far they are.

/** What the studio said was wrong; without a status it did not answer. */
export class StudioError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Ask the studio; gives its answer from JSON. */
export async function ask(path, { method = "GET", json } = {}) {
  const body = json === undefined ? undefined : JSON.stringify(json);
  let response;
  try {
    response = await fetch(path, { method, body });
  } catch {
    throw new StudioError("The studio does not answer. Is it still running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new StudioError(answer.error, response.status);
  return answer;
}

/** Send a file; `onProgress` gets the part that is sent, from 0 to 1. */
export function send(path, body, { name = "", onProgress = () => {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-Name", encodeURIComponent(name));
    request.responseType = "json";
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 200) resolve(request.response);
      else reject(new StudioError(request.response?.error ?? `The studio refused (${request.status}).`, request.status));
    };
    request.onerror = () => reject(new StudioError("The studio broke off: too large, or no longer running."));
    request.send(body);
  });
}

/** Fetch a file as a Blob. */
export async function download(path) {
  const response = await fetch(path);
  if (!response.ok) throw new StudioError((await response.json()).error, response.status);
  return response.blob();
}
