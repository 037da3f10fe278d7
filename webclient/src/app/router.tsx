import { createBrowserRouter } from "react-router";
import { ChatPage } from "@/features/chat/chat-page";
import { KeysPage } from "@/features/keys/keys-page";
import { SetupPage } from "@/features/session/setup-page";
import { VoiceButton } from "@/features/voice/voice-button";
import { AppShell } from "./app-shell";
import { NotFoundPage } from "./not-found-page";
import { PageError } from "./page-error";
import { SignInRoute } from "./sign-in-route";
import { StudioRoute } from "./studio-route";
import { WithSession } from "./with-session";

export function createRouter() {
  return createBrowserRouter([
    {
      errorElement: <PageError />,
      children: [
        { path: "/sign-in", element: <SignInRoute /> },
        { path: "/setup", element: <SetupPage /> },
        {
          element: (
            <WithSession>
              <AppShell />
            </WithSession>
          ),
          children: [
            { index: true, element: <ChatPage aside={<VoiceButton />} /> },
            { path: "/c/:conversationId", element: <ChatPage aside={<VoiceButton />} /> },
            { path: "/studio", element: <StudioRoute /> },
            { path: "/keys", element: <KeysPage /> },
            { path: "*", element: <NotFoundPage /> },
          ],
        },
      ],
    },
  ]);
}
