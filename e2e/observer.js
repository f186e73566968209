// Runs before the scripts of every document: tells violations of its policy, and
// finds what a visitor sees, in shadow trees too.
(function () {
  document.addEventListener('securitypolicyviolation', function (event) {
    console.error('violation: ' + event.effectiveDirective + ' ' + event.blockedURI);
  });

  let shift = 0;
  new PerformanceObserver(function (list) {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) {
        shift += entry.value;
      }
    }
  }).observe({type: 'layout-shift', buffered: true});

  function find(selector, root) {
    const found = Array.from(root.querySelectorAll(selector));
    for (const element of root.querySelectorAll('*')) {
      if (element.shadowRoot) {
        found.push(...find(selector, element.shadowRoot));
      }
    }
    return found;
  }

  // The text of an element, with that of the shadow trees in it.
  function text(node) {
    if (node.nodeType === Node.TEXT_NODE) {
      return node.data;
    }
    const inner = node.shadowRoot || (node.localName === 'slot' && node.assignedNodes().length ? {childNodes: node.assignedNodes()} : node);
    return Array.from(inner.childNodes, text).join('');
  }

  window.e2e = {
    // The first element that matches, wherever it is.
    find(selector) {
      return find(selector, document)[0];
    },
    // The links to documents that are on the page.
    results() {
      return find('a[href]', document).filter(function (link) {
        return /^(intranet|help|reports)\.example\.com$/.test(link.hostname) && link.getClientRects().length > 0;
      });
    },
    // Their titles, in the order of the alphabet.
    titles() {
      return Array.from(new Set(this.results().map((link) => text(link).trim()))).filter(Boolean).sort();
    },
    // What tells the visitor that a search failed.
    problem() {
      return find('.CoveoErrorReport, atomic-query-error, .status', document).map(text)
        .filter((words) => /error|wrong|not available|try again/i.test(words)).join(' ').trim();
    },
    layoutShift() {
      return shift;
    }
  };
})();
