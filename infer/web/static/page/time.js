// Durations, times and places for people.

/** Seconds in words: `about 3 min`. */
export function about(seconds) {
  if (seconds < 10) return "a few seconds";
  if (seconds < 55) return `about ${Math.round(seconds / 5) * 5} s`;
  if (seconds < 90 * 60) return `about ${Math.round(seconds / 60)} min`;
  return `about ${Number((seconds / 3600).toFixed(1))} h`;
}

/** Minutes and seconds, the latter with so many decimals: `0:12`. */
export function clock(seconds, decimals = 0) {
  const width = decimals ? decimals + 3 : 2;
  return `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(decimals).padStart(width, "0")}`;
}

/** A place: `2nd`. */
export function ordinal(place) {
  const teen = place % 100 > 10 && place % 100 < 14;
  return `${place}${(!teen && { 1: "st", 2: "nd", 3: "rd" }[place % 10]) || "th"}`;
}
