//! Products: what can be ordered, at which price today; and whose a SKU is.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Currency, Price};
use eventsourcing::decider::{Decider, Decision, accept, nothing, reject};
use eventsourcing::rejection::{Kind, Reject};

pub(super) const TYPES: &[(&str, i16)] = &[("product_added", 1), ("product_changed", 1)];
pub(super) const SKU_TYPES: &[(&str, i16)] = &[("sku_claimed", 1)];

/// What happened to a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// It can be ordered from now on.
    ProductAdded {
        sku: Sku,
        name: String,
        /// Of one piece.
        price: Price,
        currency: Currency,
    },
    /// What is left out stayed as it was. Orders placed before keep their price.
    ProductChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        price: Option<Price>,
    },
}

impl eventsourcing::Event for Event {
    const TYPES: &'static [(&'static str, i16)] = TYPES;
}

/// What happened to a SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "snake_case")]
pub enum SkuEvent {
    /// It belongs to this product, for ever; written together with `product_added`.
    SkuClaimed { product_id: Uuid },
}

impl eventsourcing::Event for SkuEvent {
    const TYPES: &'static [(&'static str, i16)] = SKU_TYPES;
}

/// The shop's own name of a product: 1 to 64 letters, digits or `. _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sku(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a SKU is 1 to 64 letters, digits or . _ -")]
pub struct InvalidSku;

impl Sku {
    pub fn as_str(&self) -> &str {
        &self.0
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Add { sku: Sku, name: String, price: Price, currency: Currency },
    Change { name: Option<String>, price: Option<Price> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    #[error("there is no such product")]
    NotFound,
    #[error("this product was added before")]
    AlreadyAdded,
    #[error("another product has this SKU")]
    SkuTaken,
}

impl Reject for Rejection {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound => Kind::NotFound,
            Self::AlreadyAdded | Self::SkuTaken => Kind::Conflict,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "product_not_found",
            Self::AlreadyAdded => "product_already_added",
            Self::SkuTaken => "sku_taken",
        }
    }

    fn pointer(&self) -> Option<String> {
        match self {
            Self::SkuTaken => Some("/sku".into()),
            Self::NotFound | Self::AlreadyAdded => None,
        }
    }
}

/// A product as its history leaves it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    #[default]
    Unknown,
    Listed {
        sku: Sku,
        name: String,
        price: Price,
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
                accept(Event::ProductAdded { sku, name, price, currency })
            }
            (Command::Add { .. }, Self::Listed { .. }) => reject(Rejection::AlreadyAdded),
            (Command::Change { .. }, Self::Unknown) => reject(Rejection::NotFound),
            (Command::Change { name, price }, Self::Listed { name: old, price: before, .. }) => {
                let name = name.filter(|name| name != old);
                let price = price.filter(|price| price != before);
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

/// Who has a SKU. Nobody decides here: the stream must be new when a product claims it.
#[derive(Debug, Clone, Copy)]
pub struct SkuOwner;

impl SkuOwner {
    pub const CATEGORY: &'static str = "sku";
}
