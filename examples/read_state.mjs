// A reader of the state file for Node 18 or later, without dependencies.
//
// node examples/read_state.mjs [--seen FILE] STATE_FILE AGENT KEY_ID=PUBLIC_KEY.pem...
//
// Prints the agent's tier and why. As a library: new StateReader(path, {keyId: pem}, seen).tier(agent).
// It keeps the rules of docs/state-file.md but one: it does not look for an operator's override.

import {createPublicKey, verify} from "node:crypto";
import {closeSync, constants, fstatSync, fsyncSync, openSync, readFileSync, readSync} from "node:fs";
import {renameSync, statSync, writeSync} from "node:fs";
import {dirname} from "node:path";
import {pathToFileURL} from "node:url";

const MAX_BYTES = 16 * 1024 * 1024;
const TAIL = /,"key_id":"([A-Za-z0-9._-]{1,64})","signature":"([A-Za-z0-9+/=]{43,88})"\}\n?$/;
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/;

const refuse = (why) => { throw new Error(why); };

// Whether a member occurs twice in an object of this (valid) JSON: parsers differ on which of the two counts.
function hasTwins(text) {
  const open = [];
  for (const [token, name, colon] of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "}") open.pop();
    else if (colon) {
      const members = open.at(-1);
      if (members.has(JSON.parse(name))) return true;
      members.add(JSON.parse(name));
    }
  }
  return false;
}

export class StateReader {
  // keys: key id -> Ed25519 public key as PEM. seen: a file that remembers the newest document, or nothing.
  constructor(path, keys, seen = null) {
    this.path = path;
    this.keys = new Map(Object.entries(keys).map(([id, pem]) => [id, createPublicKey(pem)]));
    this.seen = seen;
    this.mark = [0, 0];
  }

  // The agent's tier and the reason; 3 whatever goes wrong.
  tier(agent) {
    try {
      if (typeof agent !== "string" || agent === "") refuse("no agent was named");
      const state = this.#verified(this.#bytes());
      this.#checkForm(state);
      this.#checkVersion(state.epoch, state.seq);
      this.#checkFresh(state);
      const isListed = Object.hasOwn(state.agents, agent);
      return [isListed ? state.agents[agent].tier : state.unlisted_tier, isListed ? "listed" : "not listed"];
    } catch (error) {
      return [3, error.message];
    }
  }

  #bytes() {
    const {O_RDONLY, O_NOFOLLOW, O_NONBLOCK} = constants;
    const file = openSync(this.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const status = fstatSync(file);
      const owners = [0, process.geteuid(), statSync(dirname(this.path)).uid];
      if (!status.isFile() || !owners.includes(status.uid)) refuse("not a regular file of a trusted owner");
      if (status.size > MAX_BYTES) refuse("too large");
      const data = Buffer.alloc(status.size);
      for (let at = 0; at < data.length; ) {
        at += readSync(file, data, at, data.length - at, null) || refuse("cut while it was read");
      }
      return data;
    } finally {
      closeSync(file);
    }
  }

  #verified(data) {
    // Latin-1 keeps every byte, so that places in the text are places in the file.
    const tail = TAIL.exec(data.toString("latin1")) ?? refuse("unsigned");
    const signature = Buffer.from(tail[2], "base64");
    const key = this.keys.get(tail[1]) ?? refuse("signed with an unknown key");
    if (key.asymmetricKeyType !== "ed25519") refuse("the key is not Ed25519");
    if (signature.toString("base64") !== tail[2]) refuse("another spelling of a signature");
    const content = data.subarray(0, tail.index);
    const signed = Buffer.concat([Buffer.from(`sentineld-state-v1\0ed25519\0${tail[1]}\0`), content]);
    if (!verify(null, signed, key, signature)) refuse("a wrong signature");
    const text = new TextDecoder("utf-8", {fatal: true, ignoreBOM: true}).decode(content) + "}";
    const state = JSON.parse(text);
    return hasTwins(text) ? refuse("a member that occurs twice") : state;
  }

  #checkForm(state) {
    if (state.schema !== 1) refuse("a schema that this reader does not understand");
    if (!["enforce", "observe"].includes(state.mode)) refuse("an unknown mode");
    const isTier = (value) => [1, 2, 3].includes(value);
    const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
    const numbers = [state.epoch, state.seq, state.boottime_ms, state.valid_for_ms];
    const instants = [state.generated_at, state.valid_until];
    if (
      !numbers.every((value) => Number.isSafeInteger(value) && value >= 0)
      || !instants.every((value) => typeof value === "string" && INSTANT.test(value) && Date.parse(value))
      || typeof state.boot_id !== "string" || !isTier(state.unlisted_tier) || !isObject(state.agents)
      || !Object.values(state.agents).every((entry) => isObject(entry) && isTier(entry.tier))
    ) refuse("a member is missing or of the wrong type");
  }

  #checkVersion(epoch, seq) {
    const isOlder = ([seenEpoch, seenSeq]) => epoch < seenEpoch || (epoch === seenEpoch && seq < seenSeq);
    const kept = this.seen === null ? [0, 0] : this.#kept();
    if (isOlder(this.mark) || isOlder(kept)) refuse("rolled back: a newer one was seen before");
    this.mark = [epoch, seq];
    if (this.seen === null || (kept[0] === epoch && kept[1] === seq)) return;
    const file = openSync(`${this.seen}.new`, "w", 0o600);
    writeSync(file, `${epoch} ${seq}\n`);
    fsyncSync(file);
    closeSync(file);
    renameSync(`${this.seen}.new`, this.seen);
  }

  #kept() {
    try {
      const found = /^(\d+) (\d+)\n$/.exec(readFileSync(this.seen, "latin1")) ?? refuse("damaged memory");
      return [Number(found[1]), Number(found[2])];
    } catch (error) {
      if (error.code === "ENOENT") return [0, 0];
      throw error;
    }
  }

  #checkFresh(state) {
    const bootId = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    let isFresh;
    if (bootId === state.boot_id) {
      // The first number is CLOCK_BOOTTIME, which nobody can set.
      const uptimeMs = Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]) * 1000;
      const ageMs = uptimeMs - state.boottime_ms;
      isFresh = ageMs >= -1000 && ageMs <= state.valid_for_ms;
    } else {
      const aheadMs = Date.parse(state.generated_at) - Date.now();
      isFresh = Date.now() <= Date.parse(state.valid_until) && aheadMs <= state.valid_for_ms;
    }
    if (!isFresh) refuse("stale, or of the future");
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const words = process.argv.slice(2);
  const seen = words[0] === "--seen" ? words.splice(0, 2)[1] : null;
  const [path, agent, ...named] = words;
  const keys = Object.fromEntries(
    named.map((word) => [word.slice(0, word.indexOf("=")), readFileSync(word.slice(word.indexOf("=") + 1))]),
  );
  console.log(...new StateReader(path, keys, seen).tier(agent));
}
