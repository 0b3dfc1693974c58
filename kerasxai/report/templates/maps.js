"use strict";
// Heatmaps of 8 bits, and boxes from them as kerasxai.localization makes them. Tested to agree with Python.
const heatmaps = (() => {
  const CONSTANT = 1e-6;

  function bytes(text) {
    return Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  }

  // "HxWu:BASE64" or, signed, "HxWs:BASE64".
  function decode(text) {
    const [, height, width, kind, rest] = /^(\d+)x(\d+)([us]):(.*)$/.exec(text);
    const stored = bytes(rest), signed = kind === "s";
    return { height: Number(height), width: Number(width), signed, values: Float64Array.from(signed ? new Int8Array(stored.buffer) : stored) };
  }

  function neighbors(length, target) {
    const low = new Int32Array(target), high = new Int32Array(target), share = new Float64Array(target);
    for (let i = 0; i < target; i++) {
      const at = (i + 0.5) * length / target - 0.5, first = Math.floor(at);
      low[i] = Math.min(Math.max(first, 0), length - 1);
      high[i] = Math.min(Math.max(first + 1, 0), length - 1);
      share[i] = at - first;
    }
    return { low, high, share };
  }

  // Bilinear, with the centers of pixels at halves.
  function enlarge(map, width, height) {
    const x = neighbors(map.width, width), y = neighbors(map.height, height);
    const rows = new Float64Array(map.height * width), values = new Float64Array(height * width);
    for (let r = 0; r < map.height; r++) {
      for (let c = 0; c < width; c++) {
        rows[r * width + c] = map.values[r * map.width + x.low[c]] * (1 - x.share[c]) + map.values[r * map.width + x.high[c]] * x.share[c];
      }
    }
    for (let r = 0; r < height; r++) {
      const above = y.low[r] * width, below = y.high[r] * width, share = y.share[r];
      for (let c = 0; c < width; c++) values[r * width + c] = rows[above + c] * (1 - share) + rows[below + c] * share;
    }
    return { width, height, signed: map.signed, values };
  }

  // The pixels strictly above a share of the maximum; none if the map points nowhere.
  function mask(map, threshold) {
    let highest = -Infinity, lowest = Infinity;
    for (const value of map.values) {
      if (value > highest) highest = value;
      if (value < lowest) lowest = value;
    }
    const inside = new Uint8Array(map.values.length);
    if (!(highest > 0 && lowest < (1 - CONSTANT) * highest)) return inside;
    const least = threshold * highest;
    for (let i = 0; i < inside.length; i++) inside[i] = map.values[i] > least ? 1 : 0;
    return inside;
  }

  // The box [x0, y0, x1, y1], with exclusive ends, of the 8-connected component of most pixels; null for an empty mask.
  function largestBox(inside, width, height) {
    const left = inside.slice(), stack = new Int32Array(inside.length);
    let best = null, most = 0;
    for (let start = 0; start < left.length; start++) {
      if (!left[start]) continue;
      let size = 0, top = 0, x0 = width, y0 = height, x1 = 0, y1 = 0;
      stack[top++] = start;
      left[start] = 0;
      while (top) {
        const at = stack[--top], x = at % width, y = (at - x) / width;
        size++;
        if (x < x0) x0 = x;
        if (x > x1) x1 = x;
        if (y < y0) y0 = y;
        if (y > y1) y1 = y;
        for (let v = Math.max(y - 1, 0); v <= Math.min(y + 1, height - 1); v++) {
          for (let u = Math.max(x - 1, 0); u <= Math.min(x + 1, width - 1); u++) {
            const near = v * width + u;
            if (left[near]) { left[near] = 0; stack[top++] = near; }
          }
        }
      }
      // Of equals the first, row by row.
      if (size > most) { most = size; best = [x0, y0, x1 + 1, y1 + 1]; }
    }
    return best;
  }

  function iou(one, other) {
    const across = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
    const down = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
    const common = Math.max(across, 0) * Math.max(down, 0);
    const area = box => (box[2] - box[0]) * (box[3] - box[1]);
    const union = area(one) + area(other) - common;
    return union > 0 ? common / union : 0;
  }

  // The best IoU with any true box; null without true boxes.
  function bestIou(box, boxes) {
    if (!boxes.length) return null;
    return box ? Math.max(...boxes.map(one => iou(box, one))) : 0;
  }

  return Object.freeze({ bytes, decode, enlarge, mask, largestBox, iou, bestIou });
})();
