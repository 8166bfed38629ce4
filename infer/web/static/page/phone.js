// The link for phones and other devices, as a QR code.

import { ask } from "./api.js";
import { byId, element, telling } from "./elements.js";

const COMMAND = "nst-rt web --host 0.0.0.0 --token --self-signed";

/** Bind the button that shows the link. */
export function offerLink() {
  const dialog = byId("phone-dialog");
  byId("phone").addEventListener(
    "click",
    telling(async () => {
      byId("phone-facts").replaceChildren(...facts(await ask("/api/link")));
      dialog.showModal();
    }),
  );
  // A click on the dialog itself is one beside its content.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  byId("phone-close").addEventListener("click", () => dialog.close());
}

const paragraph = (textContent, className = "hint") => element("p", { className, textContent });

function facts({ link, camera, fingerprint }) {
  if (!link) {
    return [
      paragraph("Only this machine reaches this studio. To open it on a phone in the same network, start it with", ""),
      element("code", { textContent: COMMAND }),
    ];
  }
  const code = element("img", { src: "/api/link.svg", alt: "QR code of the link", width: 240, height: 240 });
  const shown = [code, element("a", { href: link, textContent: link }), paragraph("Whoever has this link can use the studio.")];
  if (!camera) shown.push(paragraph("Browsers allow the camera on HTTPS only. Start the studio with --self-signed for live video."));
  if (fingerprint) {
    shown.push(
      paragraph("The browser warns about the certificate, which was made for this studio alone. Its SHA-256 fingerprint is"),
      element("code", { textContent: fingerprint }),
    );
  }
  return shown;
}
