import { Camera as CameraIcon, Square, Video } from "lucide-react";
import { useRef } from "react";
import { Button } from "@/components/ui/button";
import { Dialog } from "@/components/ui/dialog";
import { Spinner } from "@/components/ui/spinner";
import { formatClock } from "@/lib/format";
import { useCamera } from "../compose/use-camera";

type CameraDialogProps = {
  withClips: boolean;
  onKeep: (file: File) => void;
  onClose: () => void;
};

/** Takes a photo or a clip and attaches it. */
export function CameraDialog({ withClips, onKeep, onClose }: CameraDialogProps) {
  const view = useRef<HTMLVideoElement>(null);
  const keep = (file: File) => {
    onKeep(file);
    onClose();
  };
  const camera = useCamera(keep);
  const { state } = camera;
  const takePhoto = async () => {
    if (view.current !== null) keep(await camera.photograph(view.current));
  };
  return (
    <Dialog open onOpenChange={onClose} width="md" title="Camera" description="What you take is added to your message. Nothing is sent before you send it.">
      {state.status === "asking" && <Spinner label="Your browser asks whether this page may use the camera." />}
      {state.status === "failed" && (
        <p role="alert" className="text-sm text-danger">
          {state.reason}
        </p>
      )}
      {(state.status === "live" || state.status === "filming") && (
        <div className="space-y-4">
          <video
            ref={(video) => {
              view.current = video;
              if (video !== null && video.srcObject !== state.stream) video.srcObject = state.stream;
            }}
            autoPlay
            muted
            playsInline
            aria-label="What the camera sees"
            className="aspect-video w-full rounded-xl bg-sunken object-contain"
          />
          <div className="flex flex-wrap items-center gap-2">
            {state.status === "live" ? (
              <>
                <Button variant="primary" onClick={() => void takePhoto()}>
                  <CameraIcon aria-hidden className="size-4" /> Take a photo
                </Button>
                {withClips && (
                  <Button onClick={camera.film}>
                    <Video aria-hidden className="size-4" /> Record a clip
                  </Button>
                )}
                {withClips && !state.hasSound && <p className="text-sm text-ink-soft">Clips will be silent: no microphone.</p>}
              </>
            ) : (
              <>
                <Button variant="primary" onClick={camera.cut}>
                  <Square aria-hidden className="size-3.5 fill-current" /> Finish the clip
                </Button>
                <p className="flex items-center gap-2 font-mono text-sm tabular-nums">
                  <span aria-hidden className="animate-breathe size-2.5 rounded-full bg-danger" />
                  <span className="sr-only">Recording</span>
                  {formatClock(state.seconds)}
                </p>
              </>
            )}
          </div>
        </div>
      )}
    </Dialog>
  );
}
