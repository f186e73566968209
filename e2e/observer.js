// Runs before the scripts of every document. It writes violations of the
// Content-Security-Policy to the console, and defines window.e2e, which finds
// what a visitor sees, also in shadow trees.
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
          const name = node ? node.nodeName : '?';
          const time = Math.round(entry.startTime);
          shifted.push(`${name} from ${previousRect.y} to ${currentRect.y} at ${time} ms`);
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

  // Returns the text of a node, including the shadow trees in it.
  function text(node) {
    if (node.nodeType === Node.TEXT_NODE) {
      return node.data;
    }
    let children = (node.shadowRoot || node).childNodes;
    if (node.localName === 'slot' && node.assignedNodes().length) {
      children = node.assignedNodes();
    }
    return Array.from(children, text).join('');
  }

  // Returns the parent of an element in the flattened tree, as the page shows
  // it.
  function outer(element) {
    return element.assignedSlot || element.parentElement || element.getRootNode().host;
  }

  // Reports whether an element is visible and has its own text.
  function hasText(element) {
    let box = element;
    while (getComputedStyle(box).display === 'contents') {
      box = outer(box);
    }
    const visible = box.checkVisibility({opacityProperty: true, visibilityProperty: true});
    if (!visible || box.getBoundingClientRect().width <= 1) {
      return false;
    }
    const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
    return [element, element.shadowRoot].some((root) => root && Array.from(root.childNodes).some(isText));
  }

  // Returns the red, green, blue and alpha of a CSS color, from 0 to 255.
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

  // Returns the first opaque background of the element or of an outer one.
  function background(element) {
    for (let e = element; e; e = outer(e)) {
      const found = rgba(getComputedStyle(e).backgroundColor);
      if (found[3] > 127) {
        return found;
      }
    }
    return rgba('white');
  }

  // Returns the relative luminance of a color, as WCAG 2 defines it.
  function luminance([r, g, b]) {
    const [x, y, z] = [r, g, b].map(function (value) {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : Math.pow((c + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  }

  window.e2e = {
    // Returns the first element that matches, also in shadow trees.
    find(selector) {
      return find(selector, document)[0];
    },
    // Returns the visible links to documents.
    results() {
      return find('a[href]', document).filter(function (link) {
        return /^(intranet|help|reports)\.example\.com$/.test(link.hostname) && link.getClientRects().length > 0;
      });
    },
    // Returns their titles without duplicates, sorted.
    titles() {
      return Array.from(new Set(this.results().map((link) => text(link).trim()))).filter(Boolean).sort();
    },
    // Returns the visible texts, one for each element.
    texts() {
      return find('*', document.body).filter(hasText).map((element) => text(element).trim());
    },
    // Returns the message that a search failed, or ''.
    problem() {
      return find('.CoveoErrorReport, atomic-query-error, .status, #status', document).map(text)
        .filter((words) => /error|wrong|not available|again/i.test(words)).join(' ').trim();
    },
    // Returns the element with the focus, also in shadow trees.
    focused() {
      let element = document.activeElement;
      while (element.shadowRoot && element.shadowRoot.activeElement) {
        element = element.shadowRoot.activeElement;
      }
      return element;
    },
    // Returns the lowest contrast of all visible texts.
    contrast() {
      return Math.min(...find('*', document.body).filter(hasText).map(function (element) {
        const [a, b] = [luminance(color(element)), luminance(background(element))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      }));
    },
    // Returns the sum of all layout shifts so far.
    layoutShift() {
      return shift;
    },
    // Returns what shifted, as text.
    shifted() {
      return shifted.join('; ');
    }
  };
})();
