/** The server's shapes. Features import them from here, never from `generated.ts`. */

export type ErrorBody = {
  message: string;
  type: string;
  param: string | null;
  code: string | null;
};

export type User = { id: string; email: string; name: string; is_admin: boolean };
export type Session = { user: User; csrf_token: string; expires_at: string };

export type ApiKeyScope = "generate" | "read" | "assets";
export type ApiKey = {
  id: string;
  name: string;
  prefix: string;
  scopes: ApiKeyScope[];
  created_at: string;
  expires_at: string | null;
  last_used_at: string | null;
};
export type NewApiKey = ApiKey & { secret: string };

export type Conversation = {
  id: string;
  title: string | null;
  created_at: string;
  updated_at: string;
};
export type Page<Row> = { data: Row[]; has_more: boolean; last_id: string | null };

export type InputText = { type: "input_text"; text: string };
export type InputImage = {
  type: "input_image";
  file_id: string | null;
  image_url: string | null;
  detail: "auto" | "low" | "high" | "original";
};
export type InputAudio = {
  type: "input_audio";
  file_id?: string | null;
  input_audio: { data: string; format: string };
};
export type InputPart = InputText | InputImage | InputAudio;
export type OutputText = { type: "output_text"; text: string };

export type ItemStatus = "in_progress" | "completed" | "incomplete";
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
  status: ItemStatus;
  content: OutputText[];
  response_id: string | null;
};
export type ConversationItem = UserItem | AssistantItem;

export type Usage = { input_tokens: number; output_tokens: number; total_tokens?: number };
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
  model: string;
  error: { code: string; message: string } | null;
  incomplete_details: { reason?: string | null } | null;
  output: { type: string; content?: { type: string; text?: string }[] }[];
  usage: Usage | null;
};

export type AssetKind = "image" | "audio";
export type Asset = {
  id: string;
  kind: AssetKind;
  mime_type: string;
  filename: string | null;
  bytes: number;
  width_px: number | null;
  height_px: number | null;
  duration_s: number | null;
  content_url: string;
  created_at: string;
};

export type Scored = { name: string; score: number };
export type Box = { left_px: number; top_px: number; right_px: number; bottom_px: number };
export type ImagePerception = {
  kind: "image";
  description: string;
  labels: Scored[];
  objects: (Scored & { box?: Box | null })[];
  text_lines: { text: string; score: number; box?: Box | null }[];
};
export type AudioPerception = {
  kind: "audio";
  transcript: string;
  language: string | null;
  segments: { start_s: number; end_s: number; text: string }[];
  sound_tags: Scored[];
};
export type Perception = ImagePerception | AudioPerception;

export type Span = {
  name: string;
  node: string;
  start_s: number;
  end_s: number;
  attributes: Record<string, string | number | boolean | null>;
};
export type Trace = {
  response_id: string;
  model: string;
  total_s: number;
  spans: Span[];
  usage: Usage | null;
};

export type StageName = "storing" | "listening" | "looking" | "reading" | "writing";
