//! Page views of the demo's shop.

use chrono::{DateTime, Utc};
use domain::page_views::PageView;

/// Pages of the shop, the most visited first. None is `/`, so that a program may count its own views
/// there.
const PATHS: [&str; 8] = [
    "/shop",
    "/shop/tea",
    "/shop/mug",
    "/shop/monstera",
    "/shop/lamp",
    "/cart",
    "/shop/piano",
    "/imprint",
];
/// Visitors of a day.
const VISITORS: u32 = 40;
/// Of so many views, one came from another site.
const REFERRED: u32 = 5;

/// Returns a view at `at` of a random visitor.
pub(super) fn view(at: DateTime<Utc>) -> PageView {
    let pick = || rand::random_range(0..PATHS.len());
    let visitor = rand::random_range(0..VISITORS);
    let referred = rand::random_range(0..REFERRED) == 0;
    PageView {
        path: PATHS[pick().min(pick())].to_owned(),
        referrer: referred.then(|| "https://search.example/".to_owned()),
        user_agent: None,
        session_id: Some(format!("{}-visitor-{visitor}", at.date_naive())),
        viewed_at: at,
    }
}
