import type { ThunkDispatch, UnknownAction } from "@reduxjs/toolkit";
import { useStore } from "react-redux";
import { assetsApi } from "@/lib/assets-api";
import type { SessionRoot } from "@/lib/base-api";
import { problemOf } from "@/lib/problem";
import { selectCsrfToken } from "@/lib/session-slice";
import { readEvents } from "@/lib/sse";
import { problemOfCall, streamCall } from "@/lib/stream-call";
import {
  paintingDone,
  paintingFailed,
  paintingPreviewed,
  paintingStarted,
  paintingStopped,
  type Recipe,
} from "../studio-slice";
import { parseImageEvent } from "./image-events";

const PREVIEWS = 3;
/** How much of its source a picture may lose when only words are given, 0 to 1. */
const VARIATION_STRENGTH = 0.6;

/** A call that is under way, by painting. Kept here, so that leaving the page ends nothing. */
const running = new Map<string, AbortController>();

export type Painter = {
  /** Makes one picture. `mask`: a PNG of the source's size, transparent where it may change. */
  paint: (recipe: Recipe, mask?: Blob) => void;
  stop: (id: string) => void;
};

export function usePainter(): Painter {
  const store = useStore<SessionRoot>();
  const dispatch = store.dispatch as ThunkDispatch<unknown, undefined, UnknownAction>;

  const follow = async (id: string, recipe: Recipe, mask: Blob | undefined, signal: AbortSignal) => {
    const csrfToken = selectCsrfToken(store.getState());
    const body =
      recipe.source === null
        ? await streamCall("/v1/images/generations", { csrfToken, body: settingsOf(recipe), signal })
        : await streamCall("/v1/images/edits", { csrfToken, body: await formOf(recipe, mask), signal });
    for await (const told of readEvents(body)) {
      const event = parseImageEvent(told);
      if (event?.kind === "preview") dispatch(paintingPreviewed({ id, preview: event.preview }));
      else if (event?.kind === "failed") dispatch(paintingFailed({ id, problem: event.problem }));
      else if (event?.kind === "done") {
        const { data: asset } = await dispatch(assetsApi.endpoints.getAsset.initiate(event.assetId));
        if (asset !== undefined) dispatch(paintingDone({ id, asset }));
      }
    }
    // Of a painting that ended, this changes nothing.
    dispatch(paintingFailed({ id, problem: problemOf("connection_lost", "") }));
  };

  const paint = (recipe: Recipe, mask?: Blob) => {
    const id = `p-${crypto.getRandomValues(new Uint32Array(2)).join("-")}`;
    const control = new AbortController();
    running.set(id, control);
    dispatch(paintingStarted({ id, recipe }));
    follow(id, recipe, mask, control.signal)
      .catch((error: unknown) => {
        const problem = problemOfCall(error);
        dispatch(problem === null ? paintingStopped(id) : paintingFailed({ id, problem }));
      })
      .finally(() => running.delete(id));
  };

  return { paint, stop: (id) => running.get(id)?.abort() };
}

function settingsOf({ prompt, size, seed }: Recipe) {
  return { prompt, size, seed, n: 1, stream: true, partial_images: PREVIEWS };
}

async function formOf(recipe: Recipe, mask: Blob | undefined): Promise<FormData> {
  const form = new FormData();
  for (const [name, value] of Object.entries(settingsOf(recipe))) form.append(name, String(value));
  if (recipe.source !== null) {
    const source = await fetch(recipe.source.content_url);
    form.append("image", await source.blob(), "source.png");
  }
  if (mask === undefined) form.append("strength", String(VARIATION_STRENGTH));
  else form.append("mask", mask, "mask.png");
  return form;
}

/** A seed that nobody chose. */
export function randomSeed(): number {
  return (crypto.getRandomValues(new Uint32Array(1))[0] ?? 0) % 2_147_483_648;
}
