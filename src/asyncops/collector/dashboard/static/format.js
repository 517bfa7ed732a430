// Times, money and counts in the words the pages use: says them exactly as format.py does.
// Durations here are microseconds, which is what the timeline's columns hold.

export function duration(micros) {
  if (micros === null) return "–";
  const seconds = Math.max(micros, 0) / 1e6;
  if (seconds === 0) return "0 s";
  if (seconds < 0.0009995) return `${round(seconds * 1e6, 0)} µs`;
  if (seconds < 0.00995) return `${round(seconds * 1e3, 1)} ms`;
  if (seconds < 0.9995) return `${round(seconds * 1e3, 0)} ms`;
  if (seconds < 9.995) return `${round(seconds, 2)} s`;
  if (seconds < 59.95) return `${round(seconds, 1)} s`;
  const whole = Math.floor(seconds + 0.5);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.floor(seconds / 60 + 0.5);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  const hours = Math.floor(seconds / 3600 + 0.5);
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function dollars(amount) {
  if (amount === 0) return "$0";
  if (amount >= 0.995) return `$${grouped(amount.toFixed(2))}`;
  if (amount < 0.000001) return "<$0.000001";
  const places = Math.min(2 - Math.floor(Math.log10(amount)), 7);
  const [whole, fraction] = amount.toFixed(places).split(".");
  return `$${whole}.${fraction.replace(/0+$/, "").padEnd(2, "0")}`;
}

export function count(number) {
  return grouped(String(number));
}

export function compact(number) {
  if (number < 10000) return count(Math.round(number));
  const [divisor, unit] = number < 999500 ? [1e3, "k"] : number < 999500000 ? [1e6, "M"] : [1e9, "G"];
  const value = number / divisor;
  if (value < 9.995) return round(value, 2) + unit;
  return (value < 99.95 ? round(value, 1) : count(Math.round(value))) + unit;
}

export function relativeTime(millis, now) {
  const seconds = (now - millis) / 1000;
  if (seconds < -60) return new Date(millis).toISOString().slice(0, 19).replace("T", " ");
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${round(seconds, 0)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 7 * 86400) return `${Math.floor(seconds / 86400)} d ago`;
  return new Date(millis).toISOString().slice(0, 10);
}

// With its thousands apart. What the browser has for that takes 25 ms when it is first asked.
function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

function round(value, places) {
  return value.toFixed(places);
}

function two(number) {
  return String(number).padStart(2, "0");
}
