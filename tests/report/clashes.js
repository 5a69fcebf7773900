// Text that lies on other text, is cut off by its drawing, or makes the page wider than the window. What is scrolled out
// of its own box, is folded away, or sticks to the window is left out. Of the height of a line only the middle counts.
() => {
  const visible = (element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.hidden, .finder, .tip, .skip, option');
  const found = [], texts = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(parent.tagName) || !visible(parent)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const boxes = [];
    for (let each = parent; each && each !== document.body; each = each.parentElement)
      if (getComputedStyle(each).overflowX !== 'visible' && each.tagName !== 'svg') boxes.push(each.getBoundingClientRect());
    for (const rect of range.getClientRects()) {
      const upright = rect.height > rect.width * 1.5 && parent.getAttribute('transform');
      const [dx, dy] = upright ? [rect.width * 0.22, 1] : [1, rect.height * 0.22];
      const kept = { left: rect.left + dx, right: rect.right - dx, top: rect.top + dy, bottom: rect.bottom - dy };
      for (const box of boxes) {
        kept.left = Math.max(kept.left, box.left); kept.right = Math.min(kept.right, box.right);
        kept.top = Math.max(kept.top, box.top); kept.bottom = Math.min(kept.bottom, box.bottom);
      }
      if (kept.right - kept.left > 1 && kept.bottom - kept.top > 1) texts.push({ ...kept, node, words: node.data.trim().slice(0, 40) });
    }
    const svg = parent.closest('svg');
    if (svg) {
      const inner = parent.getBoundingClientRect(), outer = svg.getBoundingClientRect();
      if (inner.left < outer.left - 2 || inner.right > outer.right + 2 || inner.top < outer.top - 2 || inner.bottom > outer.bottom + 2)
        found.push(`'${node.data}' leaves its drawing`);
    }
  }
  texts.sort((a, b) => a.top - b.top);
  texts.forEach((one, number) => {
    for (let k = number + 1; k < texts.length && texts[k].top < one.bottom; k++) {
      const other = texts[k];
      if (other.node !== one.node && other.left < one.right && one.left < other.right) found.push(`'${one.words}' on '${other.words}'`);
    }
  });
  const wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(`the page is ${wide} pixels wide in a window of ${innerWidth}`);
  return found;
}
