// The stock, in a SQLite file that several processes write to. Each row knows the highest fencing token that it has
// seen, and an UPDATE with a lower one finds no row: that is all of the fence, and it is the same in any database.
//
// SQLite comes from node-sqlite3-wasm: WebAssembly inside the npm package, so nothing is compiled and nothing is
// downloaded besides, and processes share a file. better-sqlite3 fetches a binary or compiles one when it is
// installed, sql.js keeps a whole database in the memory of one process, and node:sqlite needs Node.js 22.5.

import sqlite from "node-sqlite3-wasm";

// Why `<=`: a job writes the row more than once, with one token. The first time is before it reads, so that whoever
// had the lock before it can write no more from then on; with a fence at the last write only, a late write that
// comes between the read and the write of the newer job would pass, and be lost. No other grant has the same token,
// so `<=` lets nobody else in. `<` is right where a job writes a row once at the most: it also refuses a repetition.
const BEGIN = `
  UPDATE stock SET fencing_token = :token
  WHERE id = :id AND fencing_token <= :token RETURNING quantity`;
const WRITE = `
  UPDATE stock SET quantity = :quantity, fencing_token = :token
  WHERE id = :id AND fencing_token <= :token`;

/** Opens the stock in `file`. Close it when done. */
export function openStock(file) {
  const db = new sqlite.Database(file);
  db.exec("PRAGMA busy_timeout = 5000");
  return {
    create(id, quantity) {
      db.exec("CREATE TABLE stock (id TEXT PRIMARY KEY, quantity INTEGER NOT NULL, fencing_token INTEGER NOT NULL)");
      db.run("INSERT INTO stock VALUES (?, ?, 0)", [id, quantity]);
    },
    /** Shuts out all older tokens. The quantity, or undefined: a newer one was here. */
    begin: (id, token) => db.get(BEGIN, { ":id": id, ":token": token })?.quantity,
    /** Whether the row took it. False: a newer token was here. */
    write: (id, quantity, token) => db.run(WRITE, { ":id": id, ":quantity": quantity, ":token": token }).changes === 1,
    row: (id) => db.get("SELECT quantity, fencing_token AS token FROM stock WHERE id = ?", id),
    close: () => db.close(),
  };
}
