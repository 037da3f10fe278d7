import { createSlice, type PayloadAction } from "@reduxjs/toolkit";
import type { Asset } from "@/api/types";
import type { Problem } from "@/lib/problem";

/** What one picture is made from. */
export type Recipe = {
  prompt: string;
  size: string;
  seed: number;
  /** The picture it starts from; null for one from nothing but words. */
  source: Asset | null;
};

/** One picture on its way. `preview` is a data address of how it looks now. */
export type Painting = { id: string; recipe: Recipe; preview: string | null } & (
  | { status: "painting" }
  | { status: "done"; asset: Asset }
  | { status: "failed"; problem: Problem }
  | { status: "stopped" }
);

export type StudioState = { paintings: Painting[] };
export type StudioRoot = { studio: StudioState };

/** The pictures of this visit, newest first. They outlive a change of page, not of browser tab. */
export const studioSlice = createSlice({
  name: "studio",
  initialState: (): StudioState => ({ paintings: [] }),
  reducers: {
    paintingStarted: (state, { payload }: PayloadAction<{ id: string; recipe: Recipe }>) => {
      state.paintings.unshift({ ...payload, preview: null, status: "painting" });
    },
    paintingPreviewed: (state, { payload }: PayloadAction<{ id: string; preview: string }>) => {
      const painting = findWorking(state, payload.id);
      if (painting !== undefined) painting.preview = payload.preview;
    },
    paintingDone: (state, { payload: { id, asset } }: PayloadAction<{ id: string; asset: Asset }>) => {
      end(state, id, (painting) => ({ ...painting, status: "done", asset }));
    },
    paintingFailed: (state, { payload: { id, problem } }: PayloadAction<{ id: string; problem: Problem }>) => {
      end(state, id, (painting) => ({ ...painting, status: "failed", problem }));
    },
    paintingStopped: (state, { payload: id }: PayloadAction<string>) => {
      end(state, id, (painting) => ({ ...painting, status: "stopped" }));
    },
    paintingRemoved: (state, { payload: id }: PayloadAction<string>) => {
      state.paintings = state.paintings.filter((painting) => painting.id !== id);
    },
  },
});

export const {
  paintingDone,
  paintingFailed,
  paintingPreviewed,
  paintingRemoved,
  paintingStarted,
  paintingStopped,
} = studioSlice.actions;

function findWorking(state: StudioState, id: string): Painting | undefined {
  return state.paintings.find((painting) => painting.id === id && painting.status === "painting");
}

function end(
  state: StudioState,
  id: string,
  ended: (painting: Pick<Painting, "id" | "recipe" | "preview">) => Painting,
): void {
  const at = state.paintings.findIndex((painting) => painting.id === id && painting.status === "painting");
  const painting = state.paintings[at];
  if (painting === undefined) return;
  const { recipe, preview } = painting;
  state.paintings[at] = ended({ id, recipe, preview });
}
