/**
 * Medusa's real lock steps in real workflows: what protects carts, orders and payments in a store.
 *
 * A workflow here takes its key, works, frees its key and does something more. What "works" and "more" are, a test says
 * for each run.
 */
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";
import { createMedusaContainer, Modules } from "@medusajs/framework/utils";
import { createStep, createWorkflow, StepResponse, WorkflowResponse } from "@medusajs/framework/workflows-sdk";

const require = createRequire(import.meta.url);
export const { acquireLockStep, releaseLockStep } = require("@medusajs/core-flows");

/** As 45 of Medusa's 47 workflows with a lock ask for it, in seconds. */
export const MOST_WORKFLOWS = { timeout: 2, ttl: 10 };

/** What the runs do in their steps: functions do not go through a workflow's input. */
const bodies = new Map();

const stepOf = (name) =>
  createStep(name, async ({ run }) => new StepResponse((await bodies.get(run)?.[name]?.()) ?? null));
const work = stepOf("work");
const more = stepOf("more");

const lockStepsWorkflow = createWorkflow("test-lock-steps", (input) => {
  acquireLockStep(input);
  const result = work(input);
  releaseLockStep(input);
  more(input);
  return new WorkflowResponse(result);
});

const outerWork = stepOf("outerWork");

/** Takes its own key, then runs the workflow above within itself, with the input `inner`. */
const nestedWorkflow = createWorkflow("test-nested-lock-steps", (input) => {
  acquireLockStep(input);
  outerWork(input);
  const result = lockStepsWorkflow.runAsStep({ input: input.inner });
  releaseLockStep(input);
  return new WorkflowResponse(result);
});

/** A container as a store's, with this Locking Module in it. */
function containerWith(locking) {
  const container = createMedusaContainer();
  container.register({ [Modules.LOCKING]: { resolve: () => locking } });
  return container;
}

/**
 * Runs the workflow on `locking` and resolves to what `body.work` does; rejects as it does.
 * @param {{ key: string | string[], timeout?: number, ttl?: number, executeOnSubWorkflow?: boolean }} input of both lock steps
 * @param {{ work?: () => unknown, more?: () => unknown }} [body] what its two other steps do
 */
export async function runWorkflow(locking, input, body = {}) {
  return started(lockStepsWorkflow, locking, input, body);
}

/** The same with another workflow around it, whose lock steps have the input `outer`; its own step does `body.outerWork`. */
export async function runNested(locking, outer, inner, body = {}) {
  const run = randomUUID();
  return started(nestedWorkflow, locking, { ...outer, inner: { ...inner, run } }, body, run);
}

async function started(workflow, locking, input, body, run = randomUUID()) {
  bodies.set(run, body);
  try {
    const { result } = await workflow(containerWith(locking)).run({ input: { ...input, run } });
    return result;
  } finally {
    bodies.delete(run);
  }
}
