import { createApi, type BaseQueryFn } from "@reduxjs/toolkit/query/react";
import { problemFromHttp, problemOf, type Problem } from "./problem";
import { selectCsrfToken, sessionEnded, type SessionState } from "./session-slice";

export type Call = {
  path: string;
  method?: "GET" | "POST" | "PATCH" | "DELETE";
  /** Sent as JSON, but for a form, which may hold files. */
  body?: unknown;
};

/** The part of the store that requests need. */
export type SessionRoot = { session: SessionState };

const baseQuery: BaseQueryFn<Call, unknown, Problem> = async (call, api) => {
  const method = call.method ?? "GET";
  const headers = new Headers({ accept: "application/json" });
  const csrfToken = selectCsrfToken(api.getState() as SessionRoot);
  if (method !== "GET" && csrfToken !== null) headers.set("x-csrf-token", csrfToken);
  const isForm = call.body instanceof FormData;
  if (call.body !== undefined && !isForm) headers.set("content-type", "application/json");

  let response: Response;
  try {
    response = await fetch(call.path, {
      method,
      headers,
      credentials: "same-origin",
      signal: api.signal,
      ...(call.body === undefined ? {} : { body: isForm ? (call.body as FormData) : JSON.stringify(call.body) }),
    });
  } catch (error) {
    return { error: problemOf("network", error instanceof Error ? error.message : "") };
  }
  const text = await response.text();
  let body: unknown = null;
  try {
    body = text === "" ? null : JSON.parse(text);
  } catch {
    if (response.ok) return { error: problemOf("payload", "", response.status) };
  }
  if (response.ok) return { data: body };
  if (response.status === 401) api.dispatch(sessionEnded());
  return { error: problemFromHttp(response.status, body, (name) => response.headers.get(name)) };
};

/** The one REST client; features add their calls with `injectEndpoints`. */
export const baseApi = createApi({
  baseQuery,
  tagTypes: ["Conversations", "Items", "Jobs", "Keys"],
  endpoints: () => ({}),
});
