// Alerts in words.

import type { Alert } from "../../api";
import { duration } from "../../lib/format";

export const SEVERITIES = ["critical", "major", "minor", "warning", "info"] as const;

/** How long an alert was active, or has been until now. */
export const lasted = (alert: Alert) => duration(((alert.cleared_at ? Date.parse(alert.cleared_at) : Date.now()) - Date.parse(alert.raised_at)) / 1000);
