import type { AssetKind, ServedModel } from "@/api/types";
import { baseApi } from "./base-api";

/** What this installation can do. An entry of the page that it cannot serve is not shown. */
export type Capabilities = {
  /** Kinds of media that a message may hold. */
  media: readonly AssetKind[];
  speech: boolean;
  pictures: boolean;
  videos: boolean;
  /** A spoken conversation: something that listens and something that speaks. */
  voice: boolean;
};

/** Videos and documents are seen frame by frame and page by page. */
const NEEDS: readonly [AssetKind, string][] = [
  ["image", "image_encoder"],
  ["audio", "audio_encoder"],
  ["video", "image_encoder"],
  ["document", "image_encoder"],
];

export function capabilitiesOf(models: readonly ServedModel[]): Capabilities {
  const roles = new Set(models.map((model) => model.role));
  return {
    media: NEEDS.filter(([, role]) => roles.has(role)).map(([kind]) => kind),
    speech: roles.has("speech_generator"),
    pictures: roles.has("image_generator"),
    videos: roles.has("video_generator"),
    voice: roles.has("speech_generator") && roles.has("audio_encoder"),
  };
}

const modelsApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getModels: build.query<ServedModel[], void>({
      query: () => ({ path: "/v1/models" }),
      transformResponse: (body) => (body as { data: ServedModel[] }).data,
      keepUnusedDataFor: 3600,
    }),
  }),
});

const UNKNOWN = capabilitiesOf([]);

/** Nothing is offered until the server has said what it serves. */
export function useCapabilities(): Capabilities {
  const { capabilities } = modelsApi.useGetModelsQuery(undefined, {
    selectFromResult: ({ data }) => ({ capabilities: data === undefined ? UNKNOWN : memoized(data) }),
  });
  return capabilities;
}

const known = new WeakMap<readonly ServedModel[], Capabilities>();

function memoized(models: readonly ServedModel[]): Capabilities {
  const before = known.get(models) ?? capabilitiesOf(models);
  known.set(models, before);
  return before;
}
