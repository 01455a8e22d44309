"""The service: receives studies, keeps the record, reports and delivers. Never loads a model, never imports torch."""
