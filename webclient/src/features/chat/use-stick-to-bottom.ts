import { useCallback, useEffect, useRef, useState, type RefObject } from "react";

export type StickToBottom = {
  viewport: RefObject<HTMLDivElement | null>;
  content: RefObject<HTMLDivElement | null>;
  /** False once the reader has scrolled up. */
  atBottom: boolean;
  toBottom: () => void;
};

/** Within this of the end, a reader counts as following along. */
const NEAR_PX = 80;

/** Keeps the newest words in sight while they come, unless the reader has scrolled away. */
export function useStickToBottom(): StickToBottom {
  const viewport = useRef<HTMLDivElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [atBottom, setAtBottom] = useState(true);

  const toBottom = useCallback(() => {
    following.current = true;
    const element = viewport.current;
    if (element !== null) element.scrollTop = element.scrollHeight;
  }, []);

  useEffect(() => {
    const frame = viewport.current;
    const inside = content.current;
    if (frame === null || inside === null) return;
    let lastTop = frame.scrollTop;
    const onScroll = () => {
      const near = frame.scrollHeight - frame.scrollTop - frame.clientHeight < NEAR_PX;
      // Only going up is a wish to stay: text that grows also takes one away from the end.
      if (near) following.current = true;
      else if (frame.scrollTop < lastTop) following.current = false;
      lastTop = frame.scrollTop;
      setAtBottom(near || following.current);
    };
    const observer = new ResizeObserver(() => {
      if (following.current) frame.scrollTop = frame.scrollHeight;
    });
    observer.observe(inside);
    observer.observe(frame);
    frame.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      frame.removeEventListener("scroll", onScroll);
    };
  }, []);

  return { viewport, content, atBottom, toBottom };
}
