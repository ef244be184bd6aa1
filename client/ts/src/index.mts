// The ES module is a door to the CommonJS one: a program that uses both has one NotedError, and
// instanceof holds.
export * from "./index.js";
