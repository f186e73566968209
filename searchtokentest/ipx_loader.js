// The classic loader of an In-Product Experience. It adds a button that opens a
// modal panel with a search page in a frame.
(function (config) {
  "use strict";

  // On Coveo's hosts, platform-eu has the siblings search-eu and analytics-eu.
  // Any other origin serves all three.
  const script = new URL(document.currentScript.src);
  const coveo = script.hostname.match(/^platform([a-z-]*)\.cloud\.coveo\.com$/);
  const sibling = (name) => (coveo ? `https://${name}${coveo[1]}.cloud.coveo.com` : script.origin);
  const organization = encodeURIComponent(config.organizationId);
  const frameOrigin = sibling("search");

  let renewAccessToken = null;
  window.CoveoInProduct = {
    setRenewAccessTokenFunction(renew) {
      renewAccessToken = renew;
    },
  };

  // Like Coveo's loader, this one adds style elements without a nonce. The
  // page's Content-Security-Policy must allow them.
  const style = `
    :host { all: initial; color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
    button { font: inherit; cursor: pointer; }
    button:focus-visible { outline: 3px solid #7db7f5; outline-offset: 2px; }
    .open {
      position: fixed; z-index: 1000; right: 1.5rem; bottom: 1.5rem; padding: 0.6rem 1.2rem;
      border: 0; border-radius: 2rem; background: #1d5fa8; color: #fff; box-shadow: 0 2px 8px #0006;
    }
    dialog {
      box-sizing: border-box; margin: auto 1.5rem 5rem auto; padding: 0; overflow: hidden;
      width: min(26rem, 100vw - 3rem); max-width: none; height: 70vh; max-height: 70vh;
      border: 1px solid #8886; border-radius: 0.6rem; background: #fff; color: #1c2530; box-shadow: 0 4px 24px #0006;
    }
    dialog::backdrop { background: #0003; }
    .panel { display: flex; flex-direction: column; height: 100%; }
    header { display: flex; justify-content: space-between; align-items: center; padding: 0.5rem 0.5rem 0 1rem; }
    h2 { margin: 0; font-size: 1.1rem; }
    .close { width: 2.2rem; height: 2.2rem; border: 0; border-radius: 50%; background: none; color: inherit; }
    coveo-page { flex: 1; min-height: 0; }
    iframe { display: block; width: 100%; height: 100%; border: 0; }
    @media (prefers-color-scheme: dark) {
      dialog { background: #1d242c; color: #e4e9ef; }
      .open { background: #7db7f5; color: #10161c; }
    }
  `;

  class Page extends HTMLElement {
    connectedCallback() {
      this.frame = document.createElement("iframe");
      this.frame.title = "Search";
      this.frame.setAttribute(
        "sandbox",
        "allow-scripts allow-same-origin allow-forms allow-popups allow-popups-to-escape-sandbox",
      );
      const token = encodeURIComponent(config.token);
      this.frame.src =
        `${frameOrigin}/pages/${organization}/inappwidget/${encodeURIComponent(config.id)}?access_token=${token}`;
      this.append(this.frame);
      window.addEventListener("message", (event) => {
        if (event.source === this.frame.contentWindow && event.origin === frameOrigin) {
          this.receive(event.data?.key);
        }
      });
    }

    async receive(key) {
      if (key === "customTokenHasExpired" && renewAccessToken) {
        const token = await renewAccessToken();
        this.frame.contentWindow.postMessage({ key: "newAccessToken", payload: { token } }, frameOrigin);
      } else if (key === "close") {
        this.dispatchEvent(new Event("close", { bubbles: true }));
      }
    }

    focus() {
      this.frame.focus();
    }
  }

  class Modal extends HTMLElement {
    connectedCallback() {
      this.innerHTML = `
        <dialog aria-labelledby="title">
          <div class="panel">
            <header>
              <h2 id="title">Search</h2>
              <button type="button" class="close" aria-label="Close">✕</button>
            </header>
            <coveo-page></coveo-page>
          </div>
        </dialog>`;
      this.dialog = this.querySelector("dialog");
      const page = this.querySelector("coveo-page");
      page.addEventListener("close", () => this.dialog.close());
      this.querySelector(".close").addEventListener("click", () => this.dialog.close());
      this.dialog.addEventListener("click", (event) => {
        if (event.target === this.dialog) {
          this.dialog.close(); // a click outside the panel
        }
      });
    }

    open() {
      this.dialog.showModal();
      this.querySelector("coveo-page").focus();
    }
  }

  class Widget extends HTMLElement {
    connectedCallback() {
      const root = this.attachShadow({ mode: "open" });
      root.innerHTML = `
        <style>${style}</style>
        <button type="button" class="open" aria-haspopup="dialog" aria-expanded="false">Search</button>
        <coveo-page-modal></coveo-page-modal>`;
      const button = root.querySelector(".open");
      const modal = root.querySelector("coveo-page-modal");
      button.addEventListener("click", () => {
        modal.open();
        button.setAttribute("aria-expanded", "true");
      });
      modal.dialog.addEventListener("close", () => {
        button.setAttribute("aria-expanded", "false");
        button.focus();
      });
    }
  }

  customElements.define("coveo-page", Page);
  customElements.define("coveo-page-modal", Modal);
  customElements.define("coveo-in-app-widget-loader", Widget);
  document.body.append(document.createElement("coveo-in-app-widget-loader"));

  fetch(`${sibling("analytics")}/rest/ua/v15/analytics/custom?org=${organization}`, {
    method: "POST",
    headers: { "Authorization": `Bearer ${config.token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ eventType: "inAppWidget", eventValue: "load", language: "en", originLevel1: config.id }),
  }).catch(() => {}); // the search works without analytics
})
