// The loader of an In-Product Experience made with the IPX builder. It adds a
// button that opens a panel with an Atomic search interface.
(function (config) {
  "use strict";

  const atomic = "https://static.cloud.coveo.com/atomic/v3";
  const script = new URL(document.currentScript.src);
  const coveo = script.hostname.match(/^platform([a-z-]*)\.cloud\.coveo\.com$/);

  const widget = document.createElement("coveo-ipx");
  widget.id = `coveo-ipx-${config.id}`;
  // The light DOM holds a style for the document: on a page with both loaders,
  // in any order, this button moves to the left of the other.
  widget.innerHTML = "<style>body:has(coveo-in-app-widget-loader) coveo-ipx { --coveo-ipx-right: 8.5rem; }</style>";
  const root = widget.attachShadow({ mode: "open" });
  // Coveo's theme sets its colors on :root, which matches nothing in a shadow
  // tree. That is why :host sets them here.
  root.innerHTML = `
    <link rel="stylesheet" href="${atomic}/themes/coveo.css">
    <style>
      :host {
        all: initial; color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif;
        --atomic-background: #fff; --atomic-on-background: #1c2530; --atomic-error: #b3261e;
        --atomic-primary: #1d5fa8; --atomic-primary-light: #2f76c4; --atomic-primary-dark: #174c86;
        --atomic-on-primary: #fff; --atomic-ring-primary: #1d5fa880; --atomic-visited: #6b3fa0;
        --atomic-neutral: #d5dbe2; --atomic-neutral-light: #eef1f4; --atomic-neutral-lighter: #f6f8fa;
        --atomic-neutral-dim: #b4bdc7; --atomic-neutral-dark: #55606d; --atomic-disabled: #b4bdc7;
        --atomic-font-family: system-ui, sans-serif; --atomic-text-base: 0.95rem; --atomic-text-sm: 0.85rem;
        --atomic-border-radius: 0.25rem; --atomic-border-radius-md: 0.4rem;
        --atomic-border-radius-lg: 0.5rem; --atomic-border-radius-xl: 0.5rem;
      }
      button { font: inherit; cursor: pointer; }
      button:focus-visible { outline: 3px solid #7db7f5; outline-offset: 2px; }
      .open {
        position: fixed; z-index: 1000; right: var(--coveo-ipx-right, 1.5rem); bottom: 1.5rem; padding: 0.6rem 1.2rem;
        border: 0; border-radius: 2rem; background: var(--atomic-primary); color: var(--atomic-on-primary);
        box-shadow: 0 2px 8px #0006;
      }
      dialog {
        box-sizing: border-box; margin: auto 1.5rem 5rem auto; padding: 0;
        width: min(26rem, 100vw - 3rem); max-width: none; max-height: 70vh;
        border: 1px solid #8886; border-radius: 0.6rem; box-shadow: 0 4px 24px #0006;
        background: var(--atomic-background); color: var(--atomic-on-background);
      }
      dialog::backdrop { background: #0003; }
      .panel { padding: 0 1rem 1rem; }
      header { display: flex; justify-content: space-between; align-items: center; padding: 0.5rem 0; }
      h2 { margin: 0; font-size: 1.1rem; }
      .close { width: 2.2rem; height: 2.2rem; border: 0; border-radius: 50%; background: none; color: inherit; }
      p { margin: 0; }
      atomic-search-box, atomic-query-summary { margin-bottom: 0.75rem; }
      atomic-pager { margin-top: 1rem; }
      @media (prefers-color-scheme: dark) {
        :host {
          --atomic-background: #1d242c; --atomic-on-background: #e4e9ef; --atomic-error: #ff9c8f;
          --atomic-primary: #7db7f5; --atomic-primary-light: #a3cdf9; --atomic-primary-dark: #a3cdf9;
          --atomic-on-primary: #10161c; --atomic-ring-primary: #7db7f580; --atomic-visited: #c5a3f0;
          --atomic-neutral: #37424e; --atomic-neutral-light: #2a333d; --atomic-neutral-lighter: #232b34;
          --atomic-neutral-dim: #55606d; --atomic-neutral-dark: #a3afbc; --atomic-disabled: #55606d;
        }
      }
    </style>
    <button type="button" class="open" aria-haspopup="dialog" aria-expanded="false">Search (Atomic)</button>
    <dialog aria-labelledby="title">
      <div class="panel">
        <header>
          <h2 id="title">Search (Atomic)</h2>
          <button type="button" class="close" aria-label="Close">✕</button>
        </header>
        <p role="status">Loading the search…</p>
        <atomic-search-interface hidden>
          <atomic-search-box></atomic-search-box>
          <atomic-query-summary></atomic-query-summary>
          <atomic-query-error></atomic-query-error>
          <atomic-no-results></atomic-no-results>
          <atomic-result-list display="list" density="compact" image-size="none">
            <atomic-result-template>
              <template>
                <style>
                  atomic-result-section-title atomic-result-link a {
                    color: var(--atomic-primary); font-weight: 600; text-decoration: underline;
                  }
                </style>
                <atomic-result-section-title>
                  <atomic-result-link><a slot="attributes" target="_blank" rel="noopener"></a></atomic-result-link>
                </atomic-result-section-title>
                <atomic-result-section-excerpt>
                  <atomic-result-text field="excerpt"></atomic-result-text>
                </atomic-result-section-excerpt>
              </template>
            </atomic-result-template>
          </atomic-result-list>
          <atomic-pager number-of-pages="3"></atomic-pager>
        </atomic-search-interface>
      </div>
    </dialog>`;

  const button = root.querySelector(".open");
  const dialog = root.querySelector("dialog");
  const status = root.querySelector("[role=status]");
  const search = root.querySelector("atomic-search-interface");

  button.addEventListener("click", () => {
    dialog.showModal();
    button.setAttribute("aria-expanded", "true");
  });
  root.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) {
      dialog.close(); // a click outside the panel
    }
  });
  dialog.addEventListener("close", () => {
    button.setAttribute("aria-expanded", "false");
    button.focus();
  });

  const configuration = {
    accessToken: config.token,
    organizationId: config.organizationId,
    environment: { hipaa: "hipaa", stg: "stg", dev: "dev" }[coveo?.[1]] ?? "prod",
    analytics: { analyticsMode: "legacy", originContext: "nextgenipx" },
  };
  if (!coveo) {
    // Atomic derives the URLs of Coveo's hosts only.
    configuration.search = { proxyBaseUrl: `${script.origin}/rest/search/v2` };
    configuration.analytics.proxyBaseUrl = script.origin;
  }

  const fail = () => {
    status.textContent = "The search could not be loaded.";
  };

  const start = async () => {
    await customElements.whenDefined("atomic-search-interface");
    search.reflectStateInUrl = false; // leave the page's URL as it is
    await search.initialize(configuration);
    status.hidden = true;
    search.hidden = false;
    search.executeFirstSearch();
  };

  document.body.append(widget);
  const library = document.createElement("script");
  library.type = "module";
  library.src = `${atomic}/atomic.esm.js`;
  library.addEventListener("error", fail);
  document.head.append(library);
  start().catch((error) => {
    console.error(error);
    fail();
  });
})
