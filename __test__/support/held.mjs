/** An `execute` whose job runs until the test ends it. */
import { deferred, settles } from "./waiting.mjs";

/**
 * Starts `locking.execute(keys, ...)` and resolves once its job runs, with the job's `signal` and `lock`, `end(value)` and
 * `fail(error)` to finish the job, and `done`, the promise of `execute` itself.
 */
export async function holding(locking, keys, args) {
  const started = deferred();
  const job = deferred();
  const done = locking.execute(
    keys,
    (signal, lock) => {
      started.resolve({ signal, lock });
      return job.promise;
    },
    args,
  );
  done.catch(started.reject);
  const { signal, lock } = await settles(started.promise, `execute of ${JSON.stringify(keys)} runs its job`);
  return {
    signal,
    lock,
    done,
    fail: job.reject,
    end: (value) => {
      job.resolve(value);
      return done;
    },
  };
}
