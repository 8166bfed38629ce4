// Requests to the studio: JSON, and uploads with progress.

import { connection } from "./connection.js";

/** An error that the studio reported; without a status it did not answer, which a banner says. */
export class StudioError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }

  /** Whether the page says it already. */
  get isShown() {
    return !this.status && connection.isLost;
  }
}

const refusal = (answer, status) => new StudioError(answer?.error ?? `The studio refused the request (${status}).`, status);

/** Returns the response, or throws if there is none or the studio refused. */
export async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    connection.lost();
    throw new StudioError("The studio does not answer.");
  }
  if (response.ok) return response;
  if (response.status === 403) connection.check(); // another studio, which does not know this page
  throw refusal(await response.json().catch(() => null), response.status);
}

/** Send a request to the studio; returns the parsed JSON answer. */
export async function ask(path, { method = "GET", json } = {}) {
  return (await request(path, { method, body: json && JSON.stringify(json) })).json();
}

/** Fetch a file as a Blob. */
export async function download(path) {
  return (await request(path)).blob();
}

/** Upload a file; `onProgress` gets the fraction sent, from 0 to 1, and `signal` can end it. */
export function send(path, body, { name = "", onProgress = () => {}, signal } = {}) {
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
    request.onabort = () => reject(new StudioError("The upload was cancelled."));
    signal?.addEventListener("abort", () => request.abort());
    request.onerror = async () => {
      const answers = await connection.check(); // it hangs up on files that are too large
      reject(new StudioError(answers ? "The upload was interrupted; the file may be too large." : "The studio does not answer."));
    };
    request.send(body);
  });
}
