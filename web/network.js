// Runs .tflite files with LiteRT.js.
import {Tensor, isWebGPUSupported, loadAndCompile, loadLiteRt} from "@litertjs/core";

const RUNTIME = "/npm/@litertjs/core/wasm/";
const WARM_UP = 2, ROUNDS = 5;

let started;

/** Starts LiteRT.js, once a page: for the GPU if there is one, else with threads where a page may have them.
 *  only: "wasm" or "webgpu", to insist on it. Returns the accelerators to choose from. */
export const start = (only) => (started ??= begin(only));

async function begin(only) {
  const adapter = only !== "wasm" && isWebGPUSupported() ? await navigator.gpu.requestAdapter() : null;
  // a GPU drawn by the processor takes thirty times as long as WebAssembly
  const gpu = adapter && (only === "webgpu" || !adapter.info?.isFallbackAdapter);
  // what the GPU cannot do goes on in WebAssembly, which must be able to wait for it
  await loadLiteRt(RUNTIME, gpu ? {jspi: "Suspending" in WebAssembly} : {threads: crossOriginIsolated}).catch(() => loadLiteRt(RUNTIME));
  return only ? [only] : gpu ? ["webgpu", "wasm"] : ["wasm"];
}

/** The answer to a request, or an error that says why there is none. */
export async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`expected a file at ${url}, got '${response.status} ${response.statusText}'`);
  return response;
}

/** A model of one input, asked one thing at a time. */
export class Network {
  #model;
  #last = Promise.resolve();

  constructor(model, accelerator) {
    this.#model = model;
    this.accelerator = accelerator;
    const [{shape, dtype}] = model.getInputDetails();
    [this.shape, this.Values] = [[...shape], dtype === "uint8" ? Uint8Array : Float32Array];
    this.outputs = model.getOutputDetails().map(({name}) => name);
  }

  /** Compiles a file for each of the accelerators and keeps the one that answers soonest. */
  static async load(url, accelerators) {
    const file = new Uint8Array(await (await fetched(url)).arrayBuffer());
    const networks = [];
    let reason;
    for (const accelerator of accelerators)
      try {
        const network = new Network(await loadAndCompile(file, {accelerator}), accelerator);
        await network.#run(WARM_UP); // the first ones are slow, and some accelerators fail only now
        if (accelerators.length > 1) network.ms = await network.#run(ROUNDS);
        networks.push(network);
      } catch (error) {
        reason = error;
      }
    if (!networks.length) throw new Error(`expected a LiteRT model at ${url}, got one that cannot be run (${reason?.message ?? reason})`);
    const [best, ...others] = networks.sort((one, other) => one.ms - other.ms);
    others.forEach((other) => other.#model.delete());
    return best;
  }

  /** Answers to the values of its input as arrays, by the outputs' names. */
  run(values) {
    const answer = this.#last.then(async () => {
      const input = new Tensor(new this.Values(values), this.shape);
      const outputs = await this.#model.run([input]);
      const named = {};
      for (const [i, name] of this.outputs.entries()) named[name] = (await outputs[i].data()).slice();
      [input, ...outputs].forEach((tensor) => tensor.delete());
      return named;
    });
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Answers a few times. Returns the median of the milliseconds. */
  async #run(times) {
    const blank = new this.Values(this.shape.reduce((product, side) => product * side));
    const ms = [];
    for (let i = 0; i < times; i++) {
      const began = performance.now();
      await this.run(blank);
      ms.push(performance.now() - began);
    }
    return ms.sort((one, other) => one - other)[times >> 1];
  }
}
