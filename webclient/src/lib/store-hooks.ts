import type { ThunkDispatch, UnknownAction } from "@reduxjs/toolkit";
import { useDispatch } from "react-redux";

/** `dispatch` that takes thunks, typed without knowing the app's store. */
export const useAppDispatch = useDispatch.withTypes<
  ThunkDispatch<unknown, undefined, UnknownAction>
>();
