import { useNavigate } from "react-router";
import type { Asset } from "@/api/types";
import type { Handover } from "@/features/chat/chat-page";
import { JobList } from "@/features/jobs/job-list";
import { StudioPage } from "@/features/studio/studio-page";

/** The studio, whose results go on to a new conversation. */
export function StudioRoute() {
  const navigate = useNavigate();
  const use = (asset: Asset) => void navigate("/", { state: { attach: asset } satisfies Handover });
  return <StudioPage onUse={use} videoJobs={<JobList kind="video" empty="Clips appear here. Making one goes on when you leave." />} />;
}
