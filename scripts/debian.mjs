// Installs Debian packages where that can be done: as root, on a system that has apt. Node built-ins only.

import { existsSync, rmSync, writeFileSync } from "node:fs";
import { quietly } from "./command.mjs";

/** Whether {@link installFromDebian} can do anything here. */
export function canInstallFromDebian() {
  return process.platform === "linux" && process.getuid() === 0 && existsSync("/usr/bin/apt-get");
}

/**
 * Installs the first of these packages that there is.
 *
 * The package of a server would start a system service on the default port; a policy file that forbids it, as Debian
 * provides for, keeps the machine as it was but for the programs.
 *
 * @throws {Failure} what apt-get said
 */
export async function installFromDebian(names) {
  const policy = "/usr/sbin/policy-rc.d";
  const ownPolicy = !existsSync(policy);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  if (ownPolicy) writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  try {
    await quietly("updating the package lists", ["apt-get", "update"], { env });
    for (const [at, name] of names.entries()) {
      try {
        await quietly(`installing ${name}`, ["apt-get", "install", "-y", "--no-install-recommends", name], { env });
        return;
      } catch (error) {
        if (at === names.length - 1) throw error;
      }
    }
  } finally {
    if (ownPolicy) rmSync(policy, { force: true });
  }
}
