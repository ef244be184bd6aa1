// The ES module exports the CommonJS one again. So a program that uses both has one class
// NotedError, and instanceof works.
export * from "./index.js";
