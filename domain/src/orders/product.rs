//! Products: what can be ordered, at which current price; and the owner of each SKU.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Currency, Price};
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("product_added", 1), ("product_changed", 1)];
pub(super) const SKU_TYPES: &[(&str, i16)] = &[("sku_claimed", 1)];

/// Events of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// The product was added and can be ordered.
    ProductAdded {
        /// SKU of the product; never changes.
        sku: Sku,
        /// Name shown to customers.
        name: String,
        /// Unit price, decimal.
        price: Price,
        /// Currency of the price; never changes.
        currency: Currency,
    },
    /// Name or price changed. Orders placed earlier keep their price.
    ProductChanged {
        /// New name; `None` if unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// New unit price, decimal; `None` if unchanged.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<Price>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// Events of a SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum SkuEvent {
    /// A product claimed the SKU permanently; appended together with `product_added`.
    SkuClaimed {
        /// Id of the product.
        product_id: Uuid,
    },
}

impl eventsourcing::Event for SkuEvent {
    const TYPES: &'static [(&'static str, i16)] = SKU_TYPES;
}

/// A stock keeping unit: the shop's unique code of a product, 1 to 64 letters, digits, `.`, `_` or
/// `-`. Parsing applies the rule for [names](crate::name); deserializing, of stored codes, does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

/// The text is not a SKU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to 64 letters, digits or . _ -, and not `.` or `..`")]
pub struct InvalidSku;

impl Sku {
    /// Returns the code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Sku {
    type Err = InvalidSku;

    fn from_str(text: &str) -> Result<Self, InvalidSku> {
        crate::name::check(text).map_err(|_dots_or_empty| InvalidSku)?;
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Sku {
    type Error = InvalidSku;

    fn try_from(text: String) -> Result<Self, InvalidSku> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text)) } else { Err(InvalidSku) }
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.0
    }
}

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Commands of a product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Adds the product.
    Add {
        /// SKU of the product.
        sku: Sku,
        /// Name shown to customers.
        name: String,
        /// Unit price.
        price: Price,
        /// Currency of the price.
        currency: Currency,
    },
    /// Changes name or price.
    Change {
        /// New name; `None` leaves it unchanged.
        name: Option<String>,
        /// New unit price; `None` leaves it unchanged.
        price: Option<Price>,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The product does not exist.
    #[error("the product does not exist")]
    NotFound,
    /// A product with this id exists already.
    #[error("the product was added already")]
    AlreadyAdded,
    /// The SKU belongs to another product.
    #[error("another product has this SKU")]
    SkuTaken,
    /// The price has more digits after the point than its currency.
    #[error("a price in {currency} has at most {limit} digits after the point, not {decimals}")]
    Decimals {
        /// Currency of the product.
        currency: Currency,
        /// Digits after the point of an amount in the currency.
        limit: u32,
        /// Digits after the point of the price.
        decimals: u32,
    },
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyAdded | Self::SkuTaken => Kind::Conflict,
            Self::Decimals { .. } => Kind::Invalid,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "product_not_found",
            Self::AlreadyAdded => "product_already_added",
            Self::SkuTaken => "sku_taken",
            Self::Decimals { .. } => "price_decimals",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::SkuTaken => Some("/sku".into()),
            Self::Decimals { .. } => Some("/price".into()),
            Self::NotFound | Self::AlreadyAdded => None,
        }
    }
}

/// The state of a product.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    /// The product does not exist yet.
    #[default]
    Unknown,
    /// The product can be ordered.
    Listed {
        /// SKU of the product.
        sku: Sku,
        /// Current name.
        name: String,
        /// Current unit price.
        price: Price,
        /// Currency of the price.
        currency: Currency,
    },
}

impl Decider for Product {
    const CATEGORY: &'static str = "product";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command) -> Decision<Self> {
        match (command, self) {
            (Command::Add { sku, name, price, currency }, Self::Unknown) => {
                check_decimals(price, currency)?;
                accept(Event::ProductAdded { sku, name, price, currency })
            }
            (Command::Add { .. }, Self::Listed { .. }) => reject(Rejection::AlreadyAdded),
            (Command::Change { .. }, Self::Unknown) => reject(Rejection::NotFound),
            (
                Command::Change { name, price },
                Self::Listed { name: old, price: before, currency, .. },
            ) => {
                let name = name.filter(|name| name != old);
                let price = price.filter(|price| price != before);
                if let Some(price) = price {
                    check_decimals(price, *currency)?;
                }
                if name.is_none() && price.is_none() {
                    return nothing();
                }
                accept(Event::ProductChanged { name, price })
            }
        }
    }

    fn evolve(self, event: &Event) -> Self {
        match (event.clone(), self) {
            (Event::ProductAdded { sku, name, price, currency }, _) => {
                Self::Listed { sku, name, price, currency }
            }
            (
                Event::ProductChanged { name: new, price: changed },
                Self::Listed { sku, name, price, currency },
            ) => Self::Listed {
                sku,
                name: new.unwrap_or(name),
                price: changed.unwrap_or(price),
                currency,
            },
            (Event::ProductChanged { .. }, Self::Unknown) => Self::Unknown,
        }
    }
}

/// Returns an error if the price has more digits after the point than its currency. A currency that an
/// earlier build accepted, and ISO 4217 does not have, sets no limit of its own.
fn check_decimals(price: Price, currency: Currency) -> Result<(), Rejection> {
    let decimals = price.decimals();
    match currency.minor_units() {
        Some(limit) if decimals > limit => Err(Rejection::Decimals { currency, limit, decimals }),
        Some(_) | None => Ok(()),
    }
}

/// The owner of a SKU. It has no decider: a claim is appended on the condition that the stream is
/// new.
#[derive(Debug, Clone, Copy)]
pub struct SkuOwner;

impl SkuOwner {
    /// Category of the streams of SKUs.
    pub const CATEGORY: &'static str = "sku";
}
