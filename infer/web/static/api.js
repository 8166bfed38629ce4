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
  return (await accepted(response)).json();
}

/** The response, if the studio did not refuse. */
async function accepted(response) {
  if (response.ok) return response;
  const answer = await response.json().catch(() => null);
  throw refusal(answer, response.status);
}

const refusal = (answer, status) => new StudioError(answer?.error ?? `The studio refused (${status}).`, status);

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
      else reject(refusal(request.response, request.status));
    };
    request.onerror = () => reject(new StudioError("The studio broke off: too large, or no longer running."));
    request.send(body);
  });
}

/** Fetch a file as a Blob. */
export async function download(path) {
  return (await accepted(await fetch(path))).blob();
}
