import type { ReactNode } from "react";
import type { Asset } from "@/api/types";
import { Tabs } from "@/components/ui/tabs";
import { useCapabilities } from "@/lib/capabilities";
import { useTitle } from "@/lib/use-title";
import { PicturesTab } from "./components/pictures-tab";
import { VerifyTab } from "./components/verify-tab";
import { VideosTab } from "./components/videos-tab";

type StudioPageProps = {
  /** Takes a result to a conversation. */
  onUse: (asset: Asset) => void;
  /** Clips that are being made, and those that were. */
  videoJobs: ReactNode;
};

/** Where pictures and clips are made, and where a file tells how it was made. */
export function StudioPage({ onUse, videoJobs }: StudioPageProps) {
  useTitle("Studio");
  const { pictures, videos } = useCapabilities();
  const tabs = [
    ...(pictures ? [{ name: "pictures", title: "Pictures", content: <PicturesTab onUse={onUse} /> }] : []),
    ...(videos ? [{ name: "videos", title: "Video", content: <VideosTab jobs={videoJobs} /> }] : []),
    { name: "verify", title: "Check a file", content: <VerifyTab /> },
  ];
  return (
    <div className="h-full overflow-y-auto">
      <div className="mx-auto max-w-5xl space-y-6 px-4 py-8 sm:px-8 sm:py-10">
        <h1 className="text-3xl font-semibold lg:pl-0">Studio</h1>
        <Tabs label="What to do" tabs={tabs} />
      </div>
    </div>
  );
}
