// SPDX-License-Identifier: Apache-2.0
// A scripted WebSocket, and a clock that only the test moves.

import {mock} from "node:test";

/** Stands for the browser's WebSocket; what the page sent is in `sent`. */
export class FakeSocket {
  /** @type {FakeSocket[]} */
  static all = [];
  /** @type {any[]} */
  sent = [];
  closed = false;
  /** @type {null | (() => void)} */
  onopen = null;
  /** @type {null | ((event: {data: string}) => void)} */
  onmessage = null;
  /** @type {null | ((event: {code: number}) => void)} */
  onclose = null;

  /** @param {string} url */
  constructor(url) {
    this.url = url;
    FakeSocket.all.push(this);
  }

  static get last() {
    return /** @type {FakeSocket} */ (FakeSocket.all.at(-1));
  }

  /** @param {string} text */
  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close() {
    this.closed = true;
  }

  /** The server says something. @param {object} message */
  tell(message) {
    this.onmessage?.({data: JSON.stringify(message)});
  }

  /** The server (or the network, with 1006) ends the connection. @param {number} [code] */
  end(code = 1006) {
    this.onclose?.({code});
  }

  /** Opens and welcomes. @param {object} [more] */
  welcome(more = {}) {
    this.onopen?.();
    this.tell({
      type: "welcome", re: this.sent.at(-1).id, protocol: 1, now: Date.now() / 1000, role: "patient",
      participant: "p:c1", connection: "w1", heartbeatS: 15, ...more,
    });
  }

  /** Messages of one type that the page sent. @param {string} type */
  of(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

/** Puts the clock and the socket into the test's hands; events of the window are dispatched on the returned target. */
export function stage() {
  FakeSocket.all = [];
  mock.timers.enable({apis: ["setTimeout", "setInterval", "Date"], now: 1_700_000_000_000});
  mock.method(performance, "now", () => Date.now());
  const target = new EventTarget();
  Object.assign(globalThis, {WebSocket: FakeSocket, addEventListener: target.addEventListener.bind(target)});
  return target;
}

/** Gives everything back. */
export function unstage() {
  mock.timers.reset();
  mock.restoreAll();
}

/** Lets promises settle. */
export async function settle() {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

/** Moves the clock in small steps, so that promises settle between timers. @param {number} ms */
export async function pass(ms) {
  for (let left = ms; left > 0; left -= 50) {
    mock.timers.tick(Math.min(50, left));
    await settle();
  }
}
