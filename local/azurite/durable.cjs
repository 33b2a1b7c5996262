// Loaded into Azurite before its own code (node --require): what it acknowledged survives SIGKILL.
//
// Azurite keeps its metadata in LokiJS, in memory, and saves it every 5 seconds; a killed Azurite forgets
// writes that clients were told had happened. Droptune's records, ETags and messages may not be forgotten,
// so a write is answered after its metadata is on disk. Writes that arrive during a save share the next one.
"use strict";

const http = require("node:http");
const Loki = require("lokijs");

const databases = new Set();

// The timer is replaced by saves at each write: one of its own could save metadata before the extents
// that it points to.
Loki.prototype.autosaveEnable = function () {
  this.autosave = true; // close() saves what is left
  databases.add(this);
};

// LokiJS holds saves back while it loads, and forgets them: who waits for one waits for ever. Nobody has
// written to a database that is being loaded, so there is nothing to wait for.
const loading = new Set();
const { loadDatabase } = Loki.prototype;
Loki.prototype.loadDatabase = function (options, loaded) {
  loading.add(this);
  return loadDatabase.call(this, options, (...told) => {
    loading.delete(this);
    if (loaded) loaded(...told);
  });
};

const unsaved = (database) =>
  !loading.has(database) && (database.autosaveDirty() || database.throttledSavePending);
const holdsExtents = (database) => database.filename.includes("_extent__");
const save = (database) =>
  new Promise((resolve, reject) => {
    database.saveDatabase((error) => (error ? reject(error) : resolve()));
  });

async function saveAll() {
  const waiting = [...databases].filter(unsaved);
  await Promise.all(waiting.filter(holdsExtents).map(save));
  await Promise.all(waiting.filter((database) => !holdsExtents(database)).map(save));
}

function giveUp(error) {
  console.error(`Azurite cannot save its metadata: ${error.message}`);
  process.exit(1);
}

const { end } = http.ServerResponse.prototype;
http.ServerResponse.prototype.end = function (...rest) {
  const reads = this.req.method === "GET" || this.req.method === "HEAD";
  if (![...databases].some(unsaved)) return end.apply(this, rest);
  const saved = saveAll().catch(giveUp);
  // Receiving a message is a GET and changes its visibility: worth saving, not worth waiting for.
  if (reads) return end.apply(this, rest);
  saved.then(() => end.apply(this, rest));
  return this;
};
