mod architecture;
mod gateway_enroll;
mod gateway_job;
mod gateway_presence;
mod gateway_rig;
mod gateway_tls;
