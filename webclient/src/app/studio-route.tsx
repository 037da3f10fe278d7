import { useNavigate } from "react-router";
import type { Asset } from "@/api/types";
import type { Handover } from "@/features/chat/chat-page";
import { StudioPage } from "@/features/studio/studio-page";

/** The studio, whose results go on to a new conversation. */
export function StudioRoute() {
  const navigate = useNavigate();
  const use = (asset: Asset) => void navigate("/", { state: { attach: asset } satisfies Handover });
  return <StudioPage onUse={use} videoJobs={null} />;
}
