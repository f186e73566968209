// Runs before the scripts of every document: tells violations of its policy, and
// finds what a visitor sees, in shadow trees too.
(function () {
  document.addEventListener('securitypolicyviolation', function (event) {
    console.error('violation: ' + event.effectiveDirective + ' ' + event.blockedURI);
  });

  let shift = 0;
  const shifted = [];
  new PerformanceObserver(function (list) {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) {
        shift += entry.value;
        for (const {node, previousRect, currentRect} of entry.sources) {
          shifted.push(`${node ? node.nodeName : '?'} from ${previousRect.y} to ${currentRect.y} at ${Math.round(entry.startTime)} ms`);
        }
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

  // What an element is in, as the page shows it.
  function outer(element) {
    return element.assignedSlot || element.parentElement || element.getRootNode().host;
  }

  function hasText(element) {
    let box = element;
    while (getComputedStyle(box).display === 'contents') {
      box = outer(box);
    }
    return box.checkVisibility({opacityProperty: true, visibilityProperty: true}) && box.getBoundingClientRect().width > 1 &&
      [element, element.shadowRoot].some((root) => root && Array.from(root.childNodes).some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  }

  function rgba(value) {
    const canvas = rgba.context || (rgba.context = document.createElement('canvas').getContext('2d'));
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = value;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  }

  function color(element) {
    return rgba(getComputedStyle(element).color);
  }

  // The first ground that is not transparent, of the element or of what it is in.
  function background(element) {
    for (let e = element; e; e = outer(e)) {
      const found = rgba(getComputedStyle(e).backgroundColor);
      if (found[3] > 127) {
        return found;
      }
    }
    return rgba('white');
  }

  // As WCAG 2 defines it.
  function luminance([r, g, b]) {
    const [x, y, z] = [r, g, b].map(function (value) {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
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
    // What is to be read, element by element.
    texts() {
      return find('*', document.body).filter(hasText).map((element) => text(element).trim());
    },
    // What tells the visitor that a search failed.
    problem() {
      return find('.CoveoErrorReport, atomic-query-error, .status, #status', document).map(text)
        .filter((words) => /error|wrong|not available|again/i.test(words)).join(' ').trim();
    },
    // What has the focus, in shadow trees too.
    focused() {
      let element = document.activeElement;
      while (element.shadowRoot && element.shadowRoot.activeElement) {
        element = element.shadowRoot.activeElement;
      }
      return element;
    },
    // The least contrast of all texts that are on the page.
    contrast() {
      return Math.min(...find('*', document.body).filter(hasText).map(function (element) {
        const [a, b] = [luminance(color(element)), luminance(background(element))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      }));
    },
    layoutShift() {
      return shift;
    },
    shifted() {
      return shifted.join('; ');
    }
  };
})();
