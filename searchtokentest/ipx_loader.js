// Stand-in for the loader of an In-Product Experience: a button that opens a panel with what the token finds.
(function (config) {
  "use strict";
  const origin = new URL(document.currentScript.src).origin;
  let token = config.token;
  let renew = null;

  if (config.classic) {
    window.CoveoInProduct = {
      setRenewAccessTokenFunction(f) {
        renew = f;
      },
    };
  }

  const create = (name, className) => {
    const element = document.createElement(name);
    element.className = className;
    return element;
  };
  const widget = create("div", "coveo-in-product");
  const button = create("button", "coveo-in-product-button");
  const panel = create("div", "coveo-in-product-panel");
  const box = create("input", "coveo-in-product-query");
  const status = create("p", "coveo-in-product-status");
  const list = create("ul", "coveo-in-product-results");
  widget.id = "coveo-in-product-" + config.id;
  button.type = "button";
  button.textContent = "Search";
  button.setAttribute("aria-expanded", "false");
  panel.hidden = true;
  box.type = "search";
  box.setAttribute("aria-label", "Search");
  panel.append(box, status, list);
  widget.append(button, panel);

  const query = () =>
    fetch(origin + "/rest/search/v2?organizationId=" + encodeURIComponent(config.organizationId), {
      method: "POST",
      headers: { "Authorization": "Bearer " + token, "Content-Type": "application/json" },
      body: JSON.stringify({ q: box.value }),
    });

  const show = (results) => {
    list.replaceChildren(
      ...results.map((result) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        link.textContent = result.title;
        if (/^https?:/i.test(result.clickUri)) {
          link.href = result.clickUri;
        }
        item.append(link);
        return item;
      }),
    );
  };

  const search = async () => {
    try {
      let response = await query();
      if (response.status === 419 && renew) {
        token = await renew();
        response = await query();
      }
      const answer = await response.json();
      if (!response.ok) {
        throw new Error(answer.message);
      }
      show(answer.results);
      status.textContent = answer.totalCount + " results";
    } catch (error) {
      show([]);
      status.textContent = "The search failed: " + error.message;
    }
  };

  button.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    button.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) {
      search();
    }
  });
  box.addEventListener("change", search);
  document.body.append(widget);
})
