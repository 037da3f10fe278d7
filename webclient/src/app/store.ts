import { configureStore } from "@reduxjs/toolkit";
import { chatSlice } from "@/features/chat/chat-slice";
import { studioSlice } from "@/features/studio/studio-slice";
import { baseApi } from "@/lib/base-api";
import { sessionSlice } from "@/lib/session-slice";

export function createStore() {
  return configureStore({
    reducer: {
      [baseApi.reducerPath]: baseApi.reducer,
      [sessionSlice.reducerPath]: sessionSlice.reducer,
      [chatSlice.reducerPath]: chatSlice.reducer,
      [studioSlice.reducerPath]: studioSlice.reducer,
    },
    middleware: (defaults) => defaults().concat(baseApi.middleware),
  });
}
