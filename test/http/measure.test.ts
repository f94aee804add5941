import { EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { measure } from "../../src/http/measure.ts";
import { ManualClock } from "../support/manual-clock.ts";

function setUp(closed: boolean) {
  const res = Object.assign(new EventEmitter(), { closed, writableFinished: !closed, statusCode: 200 });
  const counted: Array<{ status: string; seconds: number }> = [];
  let underWay = 0;
  const begin = () => {
    underWay++;
    return () => void underWay--;
  };
  const clock = new ManualClock();
  const metrics = {
    requests: {
      observe: ({ status }: { status: string }, seconds: number) => void counted.push({ status, seconds }),
    },
  };
  measure(
    { metrics, blobs: { foreground: { begin } }, clock },
    "file",
    { method: "GET" } as IncomingMessage,
    res as unknown as ServerResponse,
  );
  return { res, counted, clock, underWay: () => underWay };
}

test("a request counts once its answer has ended, and as under way until then", async () => {
  const { res, counted, clock, underWay } = setUp(false);
  await clock.advance(250);
  expect([counted, underWay()]).toEqual([[], 1]);
  res.emit("close");
  expect([counted, underWay()]).toEqual([[{ status: "200", seconds: 0.25 }], 0]);
});

test("one whose client went away before is cut, and not under way for ever", () => {
  const { counted, underWay } = setUp(true);
  expect([counted, underWay()]).toEqual([[{ status: "cut", seconds: 0 }], 0]);
});
