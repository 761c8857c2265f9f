//! Service discovery, targets, scrape pools and loops, ingestion.
