// Orders in words.

import type { OrderCancelReason, OrderHistoryEntry } from "../api";

export const REASONS: Record<OrderCancelReason, string> = {
  out_of_stock: "out of stock",
  requested: "on request",
  expired: "not confirmed in time",
};

/** `408.00 EUR`, with the digits that the server gave. */
export const money = (amount: string, currency: string) => {
  const [whole = "0", rest] = amount.split(".");
  return `${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${rest === undefined ? "" : `.${rest}`} ${currency}`;
};

type Kind = "order" | "stock";
/** What a step of the saga is: a step forward, a refusal, or the way back. */
export type Way = "forward" | "refused" | "back";

export const STEPS: Record<OrderHistoryEntry["event"], { kind: Kind; way: Way; type: string; words: string }> = {
  placed: { kind: "order", way: "forward", type: "order_placed", words: "The order was placed" },
  stock_reserved: { kind: "stock", way: "forward", type: "stock_reserved", words: "Stock reserved" },
  stock_refused: { kind: "stock", way: "refused", type: "stock_refused", words: "Stock refused" },
  confirmed: { kind: "order", way: "forward", type: "order_confirmed", words: "The order was confirmed: all stock is reserved" },
  cancelled: { kind: "order", way: "refused", type: "order_cancelled", words: "The order was cancelled" },
  stock_released: { kind: "stock", way: "back", type: "stock_released", words: "Reserved stock released again" },
  shipped: { kind: "order", way: "forward", type: "order_shipped", words: "The order was shipped" },
  stock_shipped: { kind: "stock", way: "forward", type: "stock_shipped", words: "Reserved stock left the warehouse" },
};
