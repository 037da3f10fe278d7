/**
 * The server's shapes under the names this client uses. Those of our own API are generated from
 * its OpenAPI file; those of the OpenAI surface, which that file leaves open, are written here.
 */
import type { components } from "./generated";

type Schemas = components["schemas"];

export type User = Schemas["UserView"];
export type Session = Schemas["SessionView"];
export type ApiKey = Schemas["KeyView"];
export type ApiKeyScope = Schemas["Scope"];
export type NewApiKey = Schemas["NewKeyView"];
export type Conversation = Schemas["ConversationView"];
export type ActiveResponse = Schemas["ActiveResponse"];
export type Asset = Schemas["AssetView"];
export type AssetKind = Asset["kind"];
export type ImagePerception = Schemas["ImagePerceptionView"];
export type AudioPerception = Schemas["AudioPerceptionView"];
export type VideoPerception = Schemas["VideoPerceptionView"];
export type DocumentPerception = Schemas["DocumentPerceptionView"];
export type Perception = ImagePerception | AudioPerception | VideoPerception | DocumentPerception;
export type Segment = Schemas["SegmentView"];
export type Shot = Schemas["ShotView"];
export type Provenance = Schemas["ProvenanceView"];
export type Lineage = Schemas["LineageView"];
export type Span = Schemas["SpanView"];
export type Trace = Schemas["TraceView"];

export type Page<Row> = { data: Row[]; has_more: boolean; last_id: string | null };

export type ErrorBody = {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
};

export type InputText = { type: "input_text"; text: string };
export type InputImage = {
  type: "input_image";
  file_id: string | null;
  image_url: string | null;
  detail: "auto" | "low" | "high";
};
export type InputAudio = {
  type: "input_audio";
  file_id?: string | null;
  input_audio: { data: string; format: "wav" | "mp3" } | null;
};
/** How a recording stands in a stored item: OpenAI's SDK reads no audio part there. */
export type InputFile = {
  type: "input_file";
  file_id: string | null;
  filename: string | null;
  mime_type: string | null;
  kind: AssetKind | null;
};
export type InputPart = InputText | InputImage | InputAudio | InputFile;
export type OutputPart =
  | { type: "output_text"; text: string }
  | { type: "refusal"; refusal: string };

export type UserItem = {
  type: "message";
  id: string;
  role: "user" | "system" | "developer";
  content: InputPart[];
  response_id: string | null;
};
export type AssistantItem = {
  type: "message";
  id: string;
  role: "assistant";
  status: "in_progress" | "completed" | "incomplete";
  content: OutputPart[];
  response_id: string | null;
};
/** A call of a tool of the server; `asset_id` is the medium that it made. */
export type ToolItem = {
  type: "image_generation_call" | "custom_tool_call" | "file_search_call" | "function_call" | "function_call_output";
  id: string;
  asset_id?: string | null;
  response_id: string | null;
};
export type ConversationItem = UserItem | AssistantItem | ToolItem;

export type Usage = Pick<Schemas["UsageView"], "input_tokens" | "output_tokens">;
export type ResponseStatus =
  | "queued"
  | "in_progress"
  | "completed"
  | "incomplete"
  | "failed"
  | "cancelled";
export type ResponseObject = {
  id: string;
  status: ResponseStatus;
  error: { code: string; message: string } | null;
};

/** A stage of the native stream event `polymodal.stage`. */
export type StageName =
  | "storing"
  | "listening"
  | "looking"
  | "watching"
  | "reading"
  | "searching"
  | "writing"
  | "drawing"
  | "speaking";

/** One row of `GET /v1/models`. */
export type ServedModel = { id: string; role: string };
