"""Every question to the read models, by its path: the routes and the OpenAPI document are made of this."""

from api.answers import analytics, breakdown, campaigns, explain, reply_times, series

DASHBOARD = "/api/v1/dashboard/campaign-analytics/"
ENDPOINTS = {
    DASHBOARD: analytics.CAMPAIGNS,
    f"{DASHBOARD}summary/": analytics.SUMMARY,
    f"{DASHBOARD}timeseries/": series.SERIES,
    f"{DASHBOARD}breakdown/": breakdown.BREAKDOWN,
    f"{DASHBOARD}reply-times/": reply_times.REPLY_TIMES,
    f"{DASHBOARD}{{campaign_id}}/explain/": explain.EXPLAIN,
    "/api/v1/campaigns/": campaigns.CAMPAIGNS,
}
