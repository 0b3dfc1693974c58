// Heatmaps, masks and boxes on a canvas.
const drawing = (() => {
  const TRUE = "#56b4e9", FOUND = "#f0e442", RIM = "#141414", EDGE = [0, 224, 192];
  const scratch = document.createElement("canvas");

  // Colors of a map by tables of 256 colors. Of signed maps, tables without a middle show the evidence for the class alone.
  // `peak` is the share of a common scale that the largest magnitude of the map has; null: each map has its own scale.
  function heat(map, tables, choice, peak) {
    const diverging = choice === "signed", table = tables[choice];
    const pixels = new ImageData(map.width, map.height);
    let highest = 0;
    for (const value of map.values) highest = Math.max(highest, diverging ? Math.abs(value) : value);
    for (let i = 0; i < map.values.length; i++) {
      const share = peak !== null ? map.values[i] / (map.signed ? 127 : 255) * peak : highest ? map.values[i] / highest : 0;
      const color = 3 * Math.round(diverging ? 127.5 + 127.5 * share : 255 * Math.max(share, 0));
      pixels.data[4 * i] = table[color];
      pixels.data[4 * i + 1] = table[color + 1];
      pixels.data[4 * i + 2] = table[color + 2];
      // White, the color of zero, would bleach the photograph.
      pixels.data[4 * i + 3] = diverging ? 255 * Math.sqrt(Math.abs(share)) : 255;
    }
    return pixels;
  }

  function edges(inside, width, height) {
    const pixels = new ImageData(width, height);
    for (let i = 0; i < inside.length; i++) {
      const x = i % width, y = (i - x) / width;
      const within = x && y && x < width - 1 && y < height - 1 && inside[i - 1] && inside[i + 1] && inside[i - width] && inside[i + width];
      if (inside[i] && !within) pixels.data.set([...EDGE, 255], 4 * i);
    }
    return pixels;
  }

  function layer(pen, pixels, opacity) {
    scratch.width = pixels.width;
    scratch.height = pixels.height;
    scratch.getContext("2d").putImageData(pixels, 0, 0);
    pen.globalAlpha = opacity;
    pen.drawImage(scratch, 0, 0, pen.canvas.width, pen.canvas.height);
    pen.globalAlpha = 1;
  }

  function frame(pen, box, scale, color, dashed) {
    const [x0, y0, x1, y1] = box.map(value => value * scale);
    const unit = Math.min(3, Math.max(1, Math.max(pen.canvas.width, pen.canvas.height) / 128));
    for (const [style, width] of [[RIM, 2.2 * unit], [color, 1.3 * unit]]) {
      pen.setLineDash(dashed ? [4 * unit, 3 * unit] : []);
      pen.strokeStyle = style;
      pen.lineWidth = width;
      pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
  }

  return Object.freeze({ TRUE, FOUND, heat, edges, layer, frame });
})();
