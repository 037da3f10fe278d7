import type { Session } from "@/api/types";
import { baseApi } from "@/lib/base-api";
import { sessionEnded, signedIn, signedOut } from "@/lib/session-slice";

export const sessionApi = baseApi.injectEndpoints({
  endpoints: (build) => ({
    getSession: build.query<Session, void>({
      query: () => ({ path: "/api/v1/session" }),
      onQueryStarted: async (_, { dispatch, queryFulfilled }) => {
        try {
          dispatch(signedIn((await queryFulfilled).data));
        } catch {
          dispatch(sessionEnded());
        }
      },
    }),
    signIn: build.mutation<Session, { email: string; password: string }>({
      query: (body) => ({ path: "/api/v1/session", method: "POST", body }),
    }),
    setUp: build.mutation<Session, { token: string; password: string }>({
      query: (body) => ({ path: "/api/v1/setup", method: "POST", body }),
    }),
    signOut: build.mutation<null, void>({
      query: () => ({ path: "/api/v1/session", method: "DELETE" }),
      onQueryStarted: async (_, { dispatch, queryFulfilled }) => {
        await queryFulfilled;
        dispatch(signedOut());
      },
    }),
  }),
});

export const { useGetSessionQuery, useSetUpMutation, useSignInMutation, useSignOutMutation } =
  sessionApi;
