// Classify photos with an exported file, as `lit-cnn predict` does: onnxruntime-web (wasm) and sharp alone.
//
// npm install onnxruntime-web sharp
// node classify_onnx.mjs best.onnx rose.jpg tulip.jpg

import { readFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import sharp from "sharp";

/** Number and content of each field of a protocol buffer. */
function* fields(bytes) {
  let at = 0;
  const number = (n = 0, scale = 1) => (n += (bytes[at] & 127) * scale, bytes[at++] > 127 ? number(n, scale * 128) : n);
  while (at < bytes.length) {
    const [key, value] = [number(), number()];
    yield [key >> 3, key % 8 === 2 ? bytes.subarray(at, (at += value)) : value];
  }
}

/** An image file, upright and over white, as uint8 (1, height, width, channels); mode: L or RGB. */
async function read(path, mode) {
  const image = sharp(path, { ignoreIcc: true, autoOrient: true }).toColourspace("srgb").ensureAlpha();
  const { data, info } = await image.raw().toBuffer({ resolveWithObject: true });
  const grey = mode === "L", pixels = new Uint8Array(info.width * info.height * (grey ? 1 : 3));
  for (let i = 0; i < data.length / 4; i++) {
    const a = data[4 * i + 3], [r, g, b] = [0, 1, 2].map((c) => Math.round((data[4 * i + c] * a + 255 * (255 - a)) / 255));
    pixels.set(grey ? [(19595 * r + 38470 * g + 7471 * b + 32768) >> 16] : [r, g, b], grey ? i : 3 * i); // as Pillow
  }
  return new ort.Tensor("uint8", pixels, [1, info.height, info.width, grey ? 1 : 3]);
}

const [model, ...paths] = process.argv.slice(2);
const file = readFileSync(model), text = (bytes) => new TextDecoder().decode(bytes), about = {};
for (const [number, part] of fields(file)) {
  if (number !== 14) continue; // metadata_props, which onnxruntime-web does not tell
  const [[, key], [, value]] = fields(part);
  about[text(key)] = text(value);
}
const session = await ort.InferenceSession.create(file), names = JSON.parse(about.names);
for (const path of paths) {
  const { probabilities } = await session.run({ image: await read(path, about.mode) });
  const best = probabilities.data.indexOf(Math.max(...probabilities.data));
  console.log(`${path}\t${names[best]}\t${probabilities.data[best].toFixed(6)}`);
}
