//! The hosts of API 1.0, one for each grid.
//!
//! Source: Mimecast's API 1.0 documentation, "Global base URLs", and its public integrations for the last grids; read in 2026.

/// Base URL by the region's name.
pub(super) const REGIONS: &[(&str, &str)] = &[
    ("eu", "https://eu-api.mimecast.com"),
    ("uk", "https://eu-api.mimecast.com"),
    ("de", "https://de-api.mimecast.com"),
    ("us", "https://us-api.mimecast.com"),
    ("usb", "https://usb-api.mimecast.com"),
    ("uspcom", "https://uspcom-api.mimecast-pscom-us.com"),
    ("ca", "https://ca-api.mimecast.com"),
    ("za", "https://za-api.mimecast.com"),
    ("au", "https://au-api.mimecast.com"),
    ("je", "https://je-api.mimecast.com"),
    ("sandbox", "https://sandbox-api.mimecast.com"),
];
