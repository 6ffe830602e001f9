//! Outcomes, points, interval, verdict, quality grade. Pure.
