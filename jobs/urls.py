"""The addresses of the product's pages."""

from django.urls import URLPattern, path

from jobs.views import budget, connections, job, jobs, new_job, notices, projects, sign_in

urlpatterns: list[URLPattern] = [
    path("", jobs.home, name="home"),
    path("login/", sign_in.sign_in, name="login"),
    path("logout/", sign_in.sign_out, name="logout"),
    path("enter/", sign_in.enter, name="enter"),
    path("notices/live/", notices.live, name="notices_live"),
    path("jobs/", jobs.jobs, name="jobs"),
    path("jobs/live/", jobs.live, name="jobs_live"),
    path("jobs/new/", new_job.new_job, name="new_job"),
    path("jobs/estimate/", new_job.estimate, name="estimate"),
    path("jobs/<str:short_id>/", job.job, name="job"),
    path("jobs/<str:short_id>/live/", job.job_live, name="job_live"),
    path("jobs/<str:short_id>/prompt/", job.job_prompt, name="job_prompt"),
    path("jobs/<str:short_id>/activity/", job.job_activity, name="job_activity"),
    path("jobs/<str:short_id>/raw/", job.job_raw, name="job_raw"),
    path("jobs/<str:short_id>/cancel/", job.job_cancel, name="job_cancel"),
    path("jobs/<str:short_id>/rerun/", job.job_rerun, name="job_rerun"),
    path("jobs/<str:short_id>/resolve/", job.job_resolve, name="job_resolve"),
    path("jobs/<str:short_id>/finish/", job.job_finish, name="job_finish"),
    path("projects/", projects.projects, name="projects"),
    path("projects/<slug:slug>/", projects.project, name="project"),
    path("projects/<slug:slug>/cap/", projects.project_cap, name="project_cap"),
    path("budget/", budget.budget, name="budget"),
    path("settings/connections/", connections.connections, name="connections"),
    path("settings/connections/<int:pk>/resume/", connections.resume, name="connection_resume"),
    path("settings/connections/<int:pk>/pause/", connections.pause, name="connection_pause"),
]
