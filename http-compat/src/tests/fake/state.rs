//! What the fake does with a command.

use skyclaw_protocol::VerifyView;

use super::*;

impl State {
    pub(in crate::tests) fn tick(&mut self) -> (u64, Hlc) {
        self.version += 1;
        (self.version, Hlc { ms: START + self.version, count: 0 })
    }

    pub(in crate::tests) fn add_jobs(&mut self, count: usize) {
        for _ in 0..count {
            let payload = br#"{"kind":"shell","command":"true"}"#.to_vec();
            self.submit(skyclaw_protocol::JobRequest::new(payload, Vec::new()));
        }
    }

    fn submit(&mut self, job: skyclaw_protocol::JobRequest) -> Answer {
        let (version, created) = self.tick();
        self.jobs.push(JobView {
            id: JobId::mint(created, version),
            created,
            updated: created.wall(),
            updated_by: "node_a".to_owned(),
            version,
            status: JobStatus::Queued,
            attempts: 0,
            required: job.required,
            payload: job.payload,
            submitted_by: job.submitted_by,
            max_attempts: job.max_attempts,
            retry: job.retry,
            queue_timeout_ms: job.queue_timeout_ms,
            verify: job.verify.map(|asked| VerifyView {
                asked,
                told: Vec::new(),
                receipts: Vec::new(),
            }),
            assigned_host: None,
            lease_expires: None,
            result: None,
            error: None,
        });
        Answer::Job(Box::new(self.jobs.last().unwrap().clone()))
    }

    pub(in crate::tests) fn host(&mut self, id: &HostId) -> Result<&mut HostView, Refusal> {
        let unknown = || Refusal::UnknownHost(id.to_string());
        self.hosts.iter_mut().find(|host| host.id == *id).ok_or_else(unknown)
    }

    pub(in crate::tests) fn job(&mut self, id: &JobId) -> Result<&mut JobView, Refusal> {
        let unknown = || Refusal::UnknownJob(id.to_string());
        self.jobs.iter_mut().find(|job| job.id == *id).ok_or_else(unknown)
    }

    pub(in crate::tests) fn service(
        &mut self,
        id: &ServiceId,
    ) -> Result<&mut ServiceView, Refusal> {
        let unknown = || Refusal::UnknownService(id.to_string());
        self.services.iter_mut().find(|service| service.id == *id).ok_or_else(unknown)
    }

    fn apply(&mut self, command: Command) -> Result<Answer, Refusal> {
        let (version, at) = self.tick();
        match command {
            Command::RegisterHost { id, name, capabilities, max_parallel, openclaw, .. } => {
                let id = id.unwrap_or_else(|| HostId::mint(at, version));
                self.hosts.retain(|host| host.id != id);
                self.hosts.push(HostView {
                    id,
                    name,
                    capabilities,
                    max_parallel,
                    active_leases: Milli::whole(0),
                    last_seen: at.wall(),
                    registered: Wall(START),
                    updated_by: "node_a".to_owned(),
                    version,
                    openclaw,
                });
                Ok(Answer::Host(Box::new(self.hosts.last().unwrap().clone())))
            }
            Command::Heartbeat { host, active, .. } => {
                let host = self.host(&host)?;
                host.active_leases = active.unwrap_or(host.active_leases);
                Ok(Answer::Host(Box::new(host.clone())))
            }
            Command::RemoveHost { host } => {
                self.host(&host)?;
                self.hosts.retain(|known| known.id != host);
                Ok(Answer::Removed)
            }
            Command::Claim { host, .. } => {
                self.host(&host)?;
                let queued = self.jobs.iter_mut().find(|job| job.status == JobStatus::Queued);
                Ok(queued.map_or(Answer::NoJob, |job| {
                    job.status = JobStatus::Leased;
                    job.attempts += 1;
                    job.assigned_host = Some(host);
                    job.lease_expires = Some(at.wall().plus_ms(60_000));
                    Answer::Job(Box::new(job.clone()))
                }))
            }
            Command::Submit(job) => Ok(self.submit(job)),
            Command::Adopt(adopted) => Ok(self.submit(adopted.request)),
            Command::Complete(done) => {
                self.host(&done.host)?;
                let job = self.job(&done.job)?;
                let holder = job.assigned_host.as_ref().map_or("nobody", |host| host.as_str());
                if holder != done.host.as_str() {
                    let holder = holder.to_owned();
                    return Err(Refusal::AssignedElsewhere { job: done.job, holder });
                }
                if job.status != JobStatus::Leased {
                    return Err(Refusal::NotLeased(done.job));
                }
                job.status = if done.success { JobStatus::Completed } else { JobStatus::Failed };
                job.lease_expires = None;
                job.error = done.error;
                job.result = Some(ResultView {
                    attempt: Some(job.attempts),
                    finished_at: at.wall(),
                    duration: done.duration,
                    exit_code: done.exit_code,
                    stdout: done.stdout,
                    stderr: done.stderr,
                    outputs: done.outputs,
                    agent: done.agent,
                    receipt: done.receipt,
                });
                Ok(Answer::Job(Box::new(job.clone())))
            }
            Command::Cancel { job } => {
                let view = self.job(&job)?;
                if matches!(view.status, JobStatus::Completed | JobStatus::Failed) {
                    return Err(Refusal::AlreadyEnded { job, status: view.status.as_str().into() });
                }
                view.status = JobStatus::Failed;
                view.error = Some("cancelled".to_owned());
                Ok(Answer::Job(Box::new(view.clone())))
            }
            Command::PutService { id, def, owner } => {
                let id = id.unwrap_or_else(|| ServiceId::mint(at, version));
                self.services.retain(|service| service.id != id);
                self.services.push(ServiceView {
                    id,
                    def,
                    status: ServiceStatus::Pending,
                    created: at.wall(),
                    updated: at.wall(),
                    updated_by: "node_a".to_owned(),
                    version,
                    assignments: Vec::new(),
                    ver: 0,
                    generation: 1,
                    past: Vec::new(),
                    reverted: None,
                    owner,
                });
                Ok(Answer::Service(Box::new(self.services.last().unwrap().clone())))
            }
            Command::PatchService { id, patch } => {
                let service = self.service(&id)?;
                let def = patch.apply(&service.def);
                service.generation += u64::from(!def.runs_the_same(&service.def));
                service.def = def;
                Ok(Answer::Service(Box::new(service.clone())))
            }
            Command::RemoveService { id } => {
                self.service(&id)?;
                self.services.retain(|service| service.id != id);
                Ok(Answer::Removed)
            }
            Command::ClaimService { host } => {
                self.host(&host)?;
                Ok(self.services.first_mut().map_or(Answer::NoService, |service| {
                    service.assignments.push(Assignment::pending(host, at.wall()));
                    Answer::Service(Box::new(service.clone()))
                }))
            }
            Command::Serve { .. } | Command::Leave { .. } => Ok(Answer::Heard),
            Command::ReportService(report) => {
                let service = self.service(&report.id)?;
                let part = service.assignments.iter_mut().find(|part| part.host == report.host);
                let part = part.ok_or_else(|| Refusal::NotAssigned {
                    service: report.id.clone(),
                    host: report.host.to_string(),
                })?;
                part.status = report.status;
                part.endpoint = report.endpoint;
                part.error = report.error;
                part.started = Some(at.wall());
                service.status = report.status;
                Ok(Answer::Service(Box::new(service.clone())))
            }
            Command::Grant { .. } | Command::Renew { .. } | Command::HandBack { .. } => {
                panic!("no route leads here")
            }
            Command::MakePrincipal(new) => Ok(Answer::Principal(new)),
            Command::RevokePrincipal { which } => {
                let mut all = self.principals.iter_mut();
                let found = all.find(|one| one.name == which || one.id.as_str() == which);
                let found = found.ok_or(Refusal::UnknownPrincipal(which))?;
                Arc::make_mut(found).revoked = Some(at.wall());
                Ok(Answer::Principal(Box::new(found.as_ref().clone())))
            }
            Command::Join { url } => {
                self.peers.push(url);
                Ok(Answer::Joined)
            }
        }
    }

    pub(in crate::tests) fn take(&mut self, request: Request) -> Result<Answer, Refusal> {
        self.asked.push(request.clone());
        if !self.refuse.is_empty() {
            return Err(self.refuse.remove(0));
        }
        if let Some(key) = &request.idempotency
            && let Some((fingerprint, answer)) = self.stored.get(&key.scope)
        {
            if *fingerprint != key.fingerprint {
                return Err(Refusal::KeyReuse { route: key.route.clone() });
            }
            return Ok(answer.clone());
        }
        let answer = self.apply(request.command)?;
        if let Some(key) = request.idempotency {
            self.stored.insert(key.scope, (key.fingerprint, answer.clone()));
        }
        Ok(answer)
    }
}
