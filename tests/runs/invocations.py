"""What can be typed, and what becomes of it: commands that are accepted, and those that are refused, with what is said."""

from collections.abc import Iterator

ACCEPTED = """
train
train latent=1
train latent.dim=7
train latent=10 activation=relu
train activation=leaky_relu activation.negative_slope=0.2
train activation._target_=torch.nn.Hardswish
train +activation.approximate=tanh
train model=linear_tied
train model=linear_tied model.bias=true
train model.widths=[]
train model.widths=[30]
train model.bias=false model.latent_activation=false
train loss=huber loss.delta=0.5
train loss=l1
train +loss.reduction=sum
train optimizer=sgd
train optimizer=adamw optimizer.lr=3e-3
train optimizer.lr=1
train optimizer.betas=[0.8,0.99]
train +optimizer.amsgrad=true
train optimizer._target_=torch.optim.RAdam
train ~optimizer.lr
train scheduler=cosine
train scheduler=cosine scheduler.T_max=100
train scheduler=cosine scheduler.eta_min=1e-5
train scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=10
train scheduler._target_=torch.optim.lr_scheduler.MultiStepLR +scheduler.milestones=[9,20]
train noise=none
train noise=low noise.train_std=0.3
train noise.eval_std=[]
train noise.eval_std=[0.05,0.5,2]
train noise.eval_std=[1]
train noise.copies=1 noise.draws=1
train data=fresh
train data.fresh=true data.per_seed=false
train data.train_size=64
train data.val_size=1
train data.batch_size=1
train data.families=[sin]
train data.sigma=1 data.dt=0.05
train data.signal_length=50 data.test_frequency=-2
train data.test_frequency=0
train data.seed=5 seed=5 num_seeds=3
train seed=9223372036854775805
train basis=population
train threads=2
train threads=null
train engine=pytorch
train engine.steps_per_execution=7
train engine.name=auto
train trainer.max_epochs=1
train trainer.log_every_n_steps=5
train trainer.enable_progress_bar=true
train trainer=ddp_cpu
train trainer=ddp_cpu trainer.devices=4
train +trainer.precision=64-true
train +trainer.gradient_clip_val=1
train +trainer.accumulate_grad_batches=2
train +trainer.detect_anomaly=true
train +trainer.max_time={minutes:1}
train +callbacks.best.auto_insert_metric_name=false "callbacks.best.filename='{epoch}-{val/mse:.2f}'"
train "callbacks.best.filename='{epoch:03d}-{step}'"
train callbacks.best.filename=null
train +callbacks.e._target_=lightning.pytorch.callbacks.LearningRateMonitor
train +callbacks.e._target_=lightning.pytorch.callbacks.DeviceStatsMonitor
train +callbacks.e._target_=lightning.pytorch.callbacks.ModelSummary +callbacks.e.max_depth=-1
train +callbacks.e._target_=lightning.pytorch.callbacks.LambdaCallback
train ++trainer.max_epochs=2
train callbacks=lean
train callbacks=theorem
train ~callbacks.figures
train ~callbacks.references
train callbacks.references.rank=3
train callbacks.references.basis=population
train callbacks.best.monitor=val/mse_noise_1.0
train callbacks.best.monitor=val/mse/over_svd
train callbacks.best.monitor=train/mse
train 'callbacks.best.dirpath=${hydra:runtime.output_dir}'
train 'callbacks.last.folder=${hydra:runtime.output_dir}/checkpoints'
train +callbacks.best.save_last=true callbacks.best.dirpath=best
train -m latent=1,5 'callbacks.best.dirpath=${hydra:runtime.output_dir}/best'
train +hydra.job_logging.handlers.x={class:logging.FileHandler,filename:my.log,delay:true}
train hydra/job_logging=default
train hydra.output_subdir=null
train callbacks.last.every_seconds=0.5
train callbacks.training_error.signals=10
train +callbacks.stop._target_=lightning.pytorch.callbacks.Timer +callbacks.stop.duration=00:00:01:00
train +callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping +callbacks.stop.monitor=val/mse
train logger=none
train logger.save_dir=elsewhere
train +logger.flush_secs=10
train experiment=denoising
train experiment=plane
train experiment=theorem
train experiment=null debug=null
train debug=quick
train hydra.run.dir=mine
train hydra.run.dir=a/b/c
train hydra.job.name=mine
train "hydra.run.dir='with space'"
train 'data.batch_size=${model.widths[0]}'
train +hydra.job.env_set.MINE=1
train +hydra.callbacks.x._target_=hydra.experimental.callback.Callback
train model=residual model.blocks=0
train -m latent=1,5
train latent=1,5 -m
train -m latent.dim=range(1,4)
train -m activation=glob(r*)
train -m sweep=mine seed=1,2 stack_seeds=true
train -m table=false num_seeds=1,2
train -m hydra.sweep.dir=mine latent=1,5
train -m optimizer.lr=1e-3,1e-2 ~callbacks.figures
train --cfg job
train --cfg job --package model
train --help
train --version
train --hydra-help
report --help
evaluate --help
denoise --version
""".strip().splitlines()
"""Commands with status 0, and nothing on the standard error."""

REFUSED = r"""
train latent=7 | latent=7: no such option; there are 1, 2, 3, 5, 10; did you mean latent.dim=7?
train activation=geluu | did you mean activation=gelu?
train model=deeep | did you mean model=deep?
train optimizer=adamm | did you mean optimizer=adam
train optimiser=adam | optimiser: no such setting; did you mean optimizer?
train activaton=relu | activaton: no such setting; did you mean activation?
train activation=swish | activation=swish: no such option
train nosie=low | nosie: no such setting; did you mean noise?
train latnet.dim=3 | latnet: no such setting; did you mean latent?
train num_sedes=3 | did you mean num_seeds?
train replicas=3 | replicas: is now called num_seeds
train data.samples=3 | data.samples: is now called data.signal_length
train bad=1 | bad: no such setting
train bad | bad: not of the form key=value
train =3 | =3
train latent= | latent=
train ==
train latent=1=2 | latent
train 'latent=[' | latent=[: not of the form key=value
train 'latent={' | latent={: not of the form key=value
train 'latent.dim=(3' | not of the form key=value
train latent..dim=3 | latent..dim
train .latent=3 | .latent=3
train latent.=3 | latent.
train '' | not of the form key=value
train ' ' | not of the form key=value
train 'num_seeds=${nope}' | num_seeds
train 'num_seeds=${oc.env:NO_SUCH_VARIABLE}' | num_seeds
train 'latent.dim=${latent.dim}' | latent.dim
train 'num_seeds=${'
train 'num_seeds=${latent}' | num_seeds=${latent}: must be a whole number
train 'threads=${noise.eval_std}' | threads=${noise.eval_std}: must be a whole number, or null
train 'noise.eval_std=${latent}' | noise.eval_std=${latent}: must be a list (each a finite number)
train 'data.families=${model}' | data.families=${model}: must be a list (each text), or null
train 'basis=${data}' | basis=${data}: must be text
train 'table=${noise}' | must be true or false
train 'optimizer.lr=${latent}' | optimizer.lr={dim:5}: must be a number above 0
train 'optimizer.betas=${latent}' | optimizer.betas={dim:5}: must be a list of 2
train 'model.widths=${latent}' | model.widths={dim:5}: must be a list
train 'trainer.max_epochs=${latent}' | trainer.max_epochs={dim:5}: must be a whole number
train 'trainer.devices=${latent}' | trainer.devices={dim:5}: must be
train 'trainer.strategy=${latent}' | trainer.strategy={dim:5}: must be text
train 'callbacks.best.monitor=${latent}' | callbacks.best.monitor={dim:5}: must be text, or null
train 'callbacks.references.rank=${latent}' | callbacks.references.rank={dim:5}: must be a whole number
train 'logger.save_dir=${latent}' | logger.save_dir={dim:5}: must be text
train 'activation._target_=${latent}' | activation._target_={'dim': 5}: must name a class
train 'hydra.run.dir=${latent}' | hydra.run.dir=${latent}: must be a single value
train 'hydra.job.name=${latent}' | hydra.job.name=${latent}: must be a single value
train hydra.job.name=a/b | a/b.log: No such file or directory
train -m 'num_seeds=${latent}' latent=1,5 | num_seeds=${latent}: must be a whole number
train num_seeds=1000000000 | num_seeds=1000000000: needs about
train num_seeds=100000000000000000000 | num_seeds=
train num_seeds=100000 | num_seeds=100000: needs about
train data.signal_length=100000 | data.signal_length=100000: needs about
train data.signal_length=1000000000000 | data.signal_length=1000000000000: needs about
train model.widths=[100000,100000] | model: 20,021,400,105 parameters for each seed: needs about
train model.widths=[10000000] num_seeds=2 | parameters for each seed: needs about
train model.widths=[1000000000000000000] | model
train data.train_size=1000000000000 | data.train_size=1000000000000: needs about
train data.train_size=1e12 | data.train_size
train data.val_size=1000000000000 | data.val_size=1000000000000: needs about
train data.train_size=10000000000 data.batch_size=10000000000 | needs about
train noise.copies=1000000000000 | noise.copies=1000000000000: needs about
train noise.draws=1000000000000 | noise.draws=1000000000000: needs about
train engine.steps_per_execution=1000000000000 | engine.steps_per_execution
train trainer.max_epochs=100000000000000000000 | trainer.max_epochs
train seed=9223372036854775807 num_seeds=2 | seed
train seed=100000000000000000000 | seed
train data.seed=100000000000000000000 | data.seed
train threads=1000000 | threads=1000000
train noise.eval_std=[1e300] | noise.eval_std=1e+300: must
train noise.eval_std=[1e30] | noise.eval_std=1e+30: must
train noise.eval_std=[1e-30] | noise.eval_std
train noise.train_std=1e300 | noise.train_std=1e+300: must
train noise.train_std=1e-30 | noise.train_std=1e-30: must
train data.dt=1e-300 | data.dt=1e-300: must
train data.dt=1e-12 | data.dt=1e-12: must be larger
train data.dt=1e300 | data.dt=1e+300
train data.dt=1e8 | data.dt
train data.sigma=1e30 | data.sigma=1e+30
train data.sigma=1e8 noise=none | data.sigma
train data.sigma=1e-30 | data.sigma=1e-30: must be larger
train data.test_frequency=1e30 | data.test_frequency=1e+30: must be smaller
train optimizer.betas=[0.9] | optimizer.betas=[0.9]: must be a list of 2
train optimizer.betas=[0.9,9] | optimizer
train optimizer.betas=0.9 | optimizer.betas=0.9: must be a list of 2
train optimizer.betas=[a,b] | optimizer.betas=[a,b]: must be a list of 2
train optimizer.betas=[0.9,0.99,0.999] | optimizer.betas
train optimizer.lr=[1] | optimizer.lr
train optimizer.eps=text | optimizer.eps=text: must be a finite number
train optimizer.weight_decay=-1 | optimizer.weight_decay=-1:
train optimizer.weight_decay=1e300 | optimizer.weight_decay
train +optimizer.amsgrad=maybe | optimizer.amsgrad=maybe: must be true or false
train +optimizer.amsgrad=3 | optimizer.amsgrad=3: must be true or false
train +optimizer.weight_decy=1 | did you mean optimizer.weight_decay?
train optimizer._target_=torch.optim.Nope | optimizer._target_=torch.optim.Nope
train optimizer._target_=torch.nn.ReLU | optimizer._target_=torch.nn.ReLU
train optimizer._target_=os.system | optimizer._target_=os.system
train optimizer._target_=torch.os.system | optimizer._target_=torch.os.system
train optimizer._target_=builtins.eval | optimizer._target_=builtins.eval
train model._target_=subprocess.Popen | model._target_=subprocess.Popen
train activation._target_=os.system | activation._target_=os.system
train loss._target_=os.system | loss._target_=os.system
train scheduler._target_=os.system | scheduler._target_=os.system
train logger._target_=os.system | logger._target_=os.system
train trainer._target_=os.system | trainer._target_=os.system
train +callbacks.mine._target_=os.system | callbacks.mine._target_=os.system
train +hydra.callbacks.x._target_=os.system | os.system
train hydra.callbacks.check_settings=null | hydra.callbacks.check_settings: no such setting
train hydra.callbacks.check_settings._target_=hydra.experimental.callback.Callback | hydra.callbacks.check_settings: no such
train ~hydra.callbacks.check_settings | ~hydra.callbacks.check_settings: there is no such setting
train +hydra.callbacks.check_settings=null | hydra.callbacks.check_settings: must have a _target_
train +hydra.callbacks.check_settings._target_=hydra.experimental.callback.Callback num_seeds=1000000000 | needs about
train -m +hydra.callbacks.x={} latent=1,5 | hydra.callbacks.x: must have a _target_
train optimizer._target_= | optimizer._target_
train optimizer._target_=5 | optimizer._target_=5
train optimizer._target_=[] | optimizer._target_
train optimizer._target_=null | optimizer._target_=null: must name a class
train model._target_=torch.nn.Linear | model
train activation._target_=torch.nn.Swish | activation._target_=torch.nn.Swish
train optimizer._target_=torch.optim.LBFGS num_seeds=2 | optimizer
train scheduler=cosine scheduler.T_max=0 | scheduler.T_max=0: must be at least 1
train scheduler=cosine scheduler.T_max=-1 | scheduler.T_max=-1: must be at least 1
train scheduler=cosine scheduler.T_max=text | scheduler.T_max=text: must be a whole number
train scheduler=cosine scheduler.T_max=1.5 | scheduler.T_max=1.5: must be a whole number
train scheduler=cosine scheduler.eta_min=nan | scheduler.eta_min=nan: must be a number
train scheduler=cosine scheduler.eta_min=inf | scheduler.eta_min=inf: must
train scheduler=cosine scheduler.eta_min=-1 | scheduler
train scheduler=cosine scheduler.eta_min=[0] | scheduler.eta_min
train +scheduler.T_max=5 | scheduler.T_max: scheduler._target_ is null and takes nothing
train scheduler._target_=torch.optim.lr_scheduler.StepLR | scheduler.step_size: must be given; StepLR needs it
train scheduler._target_=torch.optim.lr_scheduler.MultiStepLR | scheduler.milestones: must be given
train scheduler._target_=torch.optim.lr_scheduler.MultiStepLR +scheduler.milestones=[1,x] | milestones=[1,x]: must be a list (
train scheduler._target_=torch.optim.lr_scheduler.MultiStepLR +scheduler.milestones=3 | scheduler.milestones=3: must be a list
train scheduler._target_=torch.optim.lr_scheduler.MultiStepLR +scheduler.milestones=[2] +scheduler.gamma=x | gamma=x: must be
train scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=0 | scheduler.step_size=0: must be at least 1
train scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=9 +scheduler.gamma=-1 | scheduler
train trainer.num_sanity_val_steps=-5 | trainer.num_sanity_val_steps=-5: must be a whole number, at least -1
train trainer.enable_progress_bar=maybe | trainer.enable_progress_bar=maybe: must be true or false
train trainer.strategy=nope | trainer.strategy=nope:
train +trainer.strategy=nope | +trainer.strategy=nope: trainer.strategy is there already; without the + it is set
train trainer.accelerator=nope | trainer.accelerator=nope:
train trainer.accelerator=5 | trainer.accelerator
train trainer.devices=0 | trainer.devices
train trainer.devices=[] | trainer
train trainer.devices=text | trainer
train trainer.devices=-3 | trainer.devices=-3:
train trainer.devices=3 | data.batch_size=64: must be a multiple of the 3 processes
train +trainer.logger=false | trainer.logger: must be left alone
train +trainer.nope=3 | trainer.nope: Trainer takes no such argument
train +trainer.max_steps=10 | trainer.max_steps=10: must
train +trainer.precision=16-mixed | trainer.precision=16-mixed: must be one of
train +trainer.gradient_clip_val=-1 | trainer.gradient_clip_val=-1: must
train +trainer.benchmark=perhaps | trainer.benchmark=perhaps: must be true or false
train +trainer.profiler=nope | trainer.profiler=nope:
train +trainer.detect_anomaly=5 | trainer.detect_anomaly=5: must be true or false
train +trainer.plugins=3 | trainer.plugins: must be left alone
train ~trainer.max_epochs | ~trainer.max_epochs: cannot be left out
train callbacks.best.monitor=nope | callbacks.best.monitor=nope: nothing reports it
train callbacks.best.monitor=val/mes | did you mean val/mse?
train callbacks.best.mode=nope | callbacks.best
train callbacks.best.save_top_k=-5 | callbacks.best
train callbacks.best.dirpath=/proc/x | callbacks.best.dirpath=/proc/x: cannot be made
train callbacks.best.filename=[] | callbacks.best.filename
train callbacks.best.filename=a/b/c | callbacks.best.filename=a/b/c: must be a file's name of at most 200 bytes, without /
train callbacks.best.filename=../x | callbacks.best.filename=../x: must be a file's name
train callbacks.best.filename=/tmp/x | callbacks.best.filename=/tmp/x: must be a file's name
train "callbacks.best.filename='{nope}'" | callbacks.best.filename={nope}: nothing reports nope
train "callbacks.best.filename='{val/mes:.2f}'" | callbacks.best.filename={val/mes:.2f}: nothing reports val/mes
train "callbacks.best.filename='{epoch'" | callbacks.best.filename={epoch:
train "callbacks.best.filename='{epoch}-{val/mse:.2f}'" | auto_insert_metric_name=false
train +callbacks.e._target_=lightning.pytorch.callbacks.ModelCheckpoint +callbacks.e.filename=a/b | callbacks.e.filename=a/b: must
train -m +callbacks.e._target_=lightning.pytorch.callbacks.ModelCheckpoint +callbacks.e.filename=a/b,c | callbacks.e.filename=a/b
train '+callbacks.e={_target_:lightning.pytorch.callbacks.OnExceptionCheckpoint,dirpath:x,filename:a/b}' | e.filename=a/b: must
train +logger.log_dir=x | logger.log_dir: TensorBoardCurves takes no such argument
train +logger.comment=x | logger.comment: TensorBoardCurves takes no such argument
train callbacks.best.save_weights_only=maybe | callbacks.best.save_weights_only=maybe: must be true or false
train callbacks.best.nope=3 | callbacks.best.nope: no such setting
train trainer.strategy=ddp_spawn | trainer.strategy=ddp_spawn: must be auto or ddp
train trainer.strategy=ddp_fork | trainer.strategy=ddp_fork: must be auto or ddp
train trainer.devices=100000 | trainer.devices=100000: needs about
train +trainer.model_registry=x | trainer.model_registry: must be left alone
train '+trainer.max_time={minutes:-1}' | -60 seconds: must be 0 or more
train '+trainer.max_time={minutes:x}' | error: trainer
train "callbacks.best.filename='{epoch:zz}'" | callbacks.best.filename={epoch:zz}: Unknown format code
train +callbacks.best.train_time_interval=3 | callbacks.best.train_time_interval=3: must be null
train +callbacks.best.train_time_interval=00:01 | callbacks.best.train_time_interval=00:01: must be null
train callbacks.last.every_minutes=1e400 | callbacks.last.every_minutes=inf: must be
train callbacks.references.rank=101 | callbacks.references.rank=101: must be at most data.signal_length=100
train callbacks.references.rank=0 | callbacks.references.rank=0: must be at least 1
train callbacks.references.rank=text | callbacks.references.rank=text: must be a whole number
train callbacks.references.rank=null | callbacks.references.rank=null: must be a whole number
train callbacks.references.rank=1.5 | callbacks.references.rank=1.5: must be a whole number
train callbacks.references.basis=nope | callbacks.references.basis=nope: must be fitted or population
train callbacks.references.basis=null | callbacks.references.basis
train callbacks.training_error.signals=0 | callbacks.training_error.signals=0: must be at least 1
train callbacks.training_error.signals=many | callbacks.training_error.signals=many: must be a whole number
train callbacks.last.every_seconds=-1 | callbacks.last.every_seconds=-1
train callbacks.last.every_seconds=nan | callbacks.last.every_seconds=nan: must be a number
train callbacks.last.every_seconds=text | callbacks.last.every_seconds
train callbacks.last.folder=/proc/x | callbacks.last.folder=/proc/x: must be ${hydra:runtime.output_dir}/checkpoints
train callbacks.last.folder=. | callbacks.last.folder=.: must be ${hydra:runtime.output_dir}/checkpoints
train callbacks.best.filename=last | callbacks.best.filename=last: must be another name
train callbacks.best.filename=previous | callbacks.best.filename=previous: must be another name
train +callbacks.best.save_last=true | callbacks.best.save_last=true: must be false
train -m latent=1,5 callbacks.best.filename=last | callbacks.best.filename=last: must be another name
train +callbacks.x=3 | callbacks.x: must have a _target_
train +callbacks.x={} | callbacks.x: must have a _target_
train +callbacks.x=null | callbacks.x: must have a _target_
train callbacks=theorem ~callbacks.references | ~callbacks.references: cannot be left out
train ~callbacks | ~callbacks: cannot be left out
train ~logger | ~logger: cannot be left out
train ~latent | ~latent: cannot be left out
train ~seed | ~seed: cannot be left out
train +logger.max_queue=-1 | logger.max_queue=-1: must be at least 0
train +logger.flush_secs=-1 | logger.flush_secs=-1: must be at least 0
train +logger.flush_secs=text | logger.flush_secs=text: must be a whole number
train +logger.filename_suffix=/a/b | logger.filename_suffix=/a/b: must be a part of a file's name
train ~nope | ~nope: there is no such setting
train ~latent.dim | latent.dim
train ~optimizer.nope | ~optimizer.nope
train ~model._target_ | model._target_
train ~hydra | hydra
train logger.save_dir=/proc/x | logger.save_dir=/proc/x: cannot be made
train logger.save_dir=3 | logger.save_dir
train logger.name=[] | logger.name=[]: must be text
train logger.nope=3 | logger.nope: no such setting
train +logger.flush_sec=1 | did you mean logger.flush_secs?
train +nope=3 | nope: no such setting
train ++nope=3 | nope: no such setting
train +data.nope=3 | data.nope: no such setting
train ++data.nope=3 | data.nope: no such setting
train +latent.nope=3 | latent.nope: no such setting
train +noise.nope=3 | noise.nope: no such setting
train +engine.nope=3 | engine.nope: no such setting
train +model.nope=3 | model.nope: DeepAutoencoder takes no such argument
train +loss.nope=3 | loss.nope: MSELoss takes no such argument
train +activation.nope=3 | activation.nope: GELU takes no such argument
train +optimizer.nope=3 | optimizer.nope: Adam takes no such argument
train +model.latent_dim=3 | model.latent_dim: must be left alone
train +latent.dim.x=3 | latent.dim
train +experiment=paper | experiment: must be chosen once
train +seed=3 | seed
train activation=relu activation=gelu | activation=gelu: activation must be chosen once
train latent.dim=3 latent.dim=4 | latent.dim=4: latent.dim must be chosen once
train latent.dim=3 ++latent.dim=4 | latent.dim must be chosen once
train activation=relu,tanh activation=gelu -m | activation=gelu: activation must be chosen once
train -m seed=1,2 seed=3 | seed=3: seed must be chosen once
train latent=1,5 | latent=1,5: several values are a sweep, which needs -m
train latent.dim=1,5 | several values are a sweep, which needs -m
train sweep=mine | sweep=mine: is for a sweep, which needs -m
train table=false | table=false: is for a sweep, which needs -m
train detach=true | detach=true: is for a sweep, which needs -m
train stack_seeds=true | stack_seeds=true: is for a sweep, which needs -m
train jobs_per_task=2 | jobs_per_task=2: is for a sweep, which needs -m
train hydra/launcher=joblib | hydra/launcher=joblib: is for the jobs of a sweep
train hydra/launcher=nope | hydra/launcher=nope: no such option
train hydra/sweeper=nope | hydra/sweeper=nope: no such option
train hydra/nope=3 | hydra/nope
train hydra.nope=3 | hydra.nope: no such setting
train +hydra.nope=3 | hydra.nope: no such setting
train ++hydra.job.nam=3 | did you mean hydra.job.name?
train hydra.mode=MULTIRUN | hydra.mode=MULTIRUN: must be left alone
train hydra.mode=RUN | hydra.mode=RUN: must be left alone
train hydra.mode=nope | hydra.mode=nope: must be left alone
train hydra.run.dir= | hydra.run.dir
train hydra.run.dir=null | hydra.run.dir
train hydra.run.dir=[] | hydra.run.dir
train run= | run=: not the folder of a run
train run=. | run=.: not the folder of a run
train -m seed=range(0,100000000) | stand for about 1e+08 jobs
train -m seed=range(0,10000) optimizer.lr=range(0.001,1,0.001) | stand for about 1e+07 jobs
train hydra.run.dir=/proc/x | hydra.run.dir=/proc/x: cannot be made
train hydra.run.dir=/proc/x/y/z | hydra.run.dir=/proc/x/y/z: cannot be made
train hydra.run.dir=/dev/null/x | hydra.run.dir=/dev/null/x: cannot be made
train hydra.sweep.dir=/proc/x -m latent=1,5 | /proc/x
train hydra.job.chdir=maybe | hydra.job.chdir
train hydra.verbose=[[[ | hydra.verbose
train hydra.verbose=nope | hydra.verbose=nope: must be true, false, or packages
train hydra.verbose=3 | hydra.verbose=3: must be true, false, or packages
train hydra.verbose=[wavecoder,3] | hydra.verbose=[wavecoder,3]: must be
train hydra.job_logging.version=3 | hydra.job_logging: Unsupported version: 3
train hydra.job_logging.root.level=nope | hydra.job_logging: Unknown level: 'nope'
train -m latent=1,5 hydra.hydra_logging.version=3 | hydra.hydra_logging: Unsupported version: 3
train hydra/job_logging=nope | hydra/job_logging=nope
train data=file | data.path: must be given
train data=file data.path=nowhere.npy | data.path=
train data=file data.path=nowhere | data.path=
train data=file data.path=/dev/null | data.path=/dev/null
train data=file data.path=/proc | data.path=/proc
train data=file data.path= | data.path
train data=file data.path=[] | data.path
train data.path=signals.npy | data.path=signals.npy: is for data=file
train data.key=x | data.key=x: must be left alone
train data.scaling=set | data.scaling=set: must be none
train basis=nope | basis=nope: must be one of fitted, population
train engine.name=fast | engine.name=fast: must be one of
train engine=compiled activation=silu | engine.name=compiled
train data.families=[] | data.families
train data.families=[saw] | data.families=saw: must be among
train data.families=[sin,sin] | data.families
train data.families=sin | data.families
train data.batch_size=20001 | data.batch_size=20001: must be at most
train noise.eval_std=0.1 | noise.eval_std
train noise.eval_std=[a] | noise.eval_std
train noise.eval_std=[nan] | noise.eval_std
train noise.eval_std=[0.1,0.1] | noise.eval_std
train latent.dim=100 | latent.dim=100: must be below
train model.widths=[0] | model.widths=[0]: must be at least 1
train model.widths=[50,-5] | model.widths=[50,-5]: must be at least 1
train model=residual model.blocks=-1 | model.blocks=-1: must be at least 0
train model=residual model.width=0 | model.width=0: must be at least 1
train model=fourier model.widths=[0] | model.widths=[0]: must be at least 1
train model=fourier model.frequencies=0 | model.frequencies=0: must be at least 1
train model=fourier model.frequencies=-1 | model.frequencies=-1: must be at least 1
train model=fourier model.largest_frequency=0.0 | model.largest_frequency=0.0: must be at least 0.5
train model=curve latent=1 model.frequencies=0 | model.frequencies=0: must be at least 1
train model=curve latent=1 model.points=0 | model.points=0: must be at least 1
train model=curve latent=1 model.neighbours=-1 | model.neighbours=-1: must be at least 0
train model=curve latent=1 model.neighbours=1000000000000 | model.neighbours=1000000000000: must be below points=1024
train model=curve latent=1 model.temperature=0.0 | model.temperature=0.0: must be above 0
train model=curve latent=1 model.encoder_weight=-1.0 | model.encoder_weight=-1.0: must be at least 0
train model.widths=5 | model.widths=5: must be a list
train model.widths=[50,a] | model.widths=[50,a]: must be a list
train model.widths=[50.5] | model.widths=[50.5]: must be a list
train model.widths=null | model.widths=null: must be a list
train model.bias=maybe | model.bias=maybe: must be true or false
train model.bias=[] | model.bias=[]: must be true or false
train model=linear_tied activation=tanh | activation=tanh: TiedLinearAutoencoder takes no activation
train model=linear_tied model.widths=[5] | model.widths: no such setting
train activation=leaky_relu activation.negative_slope=text | activation.negative_slope=text: must be a finite number
train activation=leaky_relu activation.negative_slope=inf | activation.negative_slope=inf: must
train activation=prelu activation.init=null | activation.init=null: must be a finite number
train loss=huber loss.delta=-1 | loss.delta=-1:
train loss=huber loss.delta=0 | loss.delta=0:
train loss._target_=torch.nn.CosineEmbeddingLoss | error: loss:
train loss=huber loss.delta=text | loss.delta=text: must be a finite number
train +loss.reduction=none | loss
train +loss.reduction=nope | loss.reduction=nope: nope is not a valid value for reduction
train -m latent=1,4 | latent=4: no such option
train -m latent.dim=3,0 | latent.dim=0: must be at least 1
train -m num_seeds=1,1000000000 | num_seeds=1000000000: needs about
train -m optimizer.lr=1,text | optimizer.lr=text: must be a number above 0
train -m optimizer.betas=[0.9],[0.9,0.99] | optimizer.betas=[0.9]: must be a list of 2
train -m callbacks.references.basis=fitted,nope | callbacks.references.basis=nope
train -m data.sigma=1,1e30 | data.sigma=1e+30
train -m latent=1,1 | stands for more than one job
train -m sweep=a/b latent=1,5 | sweep=a/b: must be letters
train -m sweep=.. latent=1,5 | sweep=..: must be letters
train -m sweep= latent=1,5 | sweep=
train -m sweep=a,b | sweep=a,b: must be one value
train -m jobs_per_task=0 latent=1,5 | jobs_per_task=0: must be at least 1
train -m detach=true latent=1,5 | detach=true
train -m activation=glob(zz*) | the choices leave no job to run
train -m hydra.sweeper.max_batch_size=3 latent=1,5 | hydra.sweeper.max_batch_size=3
train -m hydra.sweeper.params=3 latent=1,5 | hydra.sweeper.params
train -m +hydra.sweeper.nope=3 latent=1,5 | hydra.sweeper.nope
train -m hydra.mode=RUN latent=1,5 | hydra.mode=RUN: must be left alone
train -m latent=range(1,a) | latent
train -m ~logger latent=1,5 | ~logger: cannot be left out
train -m +nope=3,4 | nope: no such setting
train -m nope=3,4 | nope: no such setting
train --nope | --nope
train -x | -x
train --cfg | --cfg
train --cfg x | --cfg
train --cfg job --package nope | --package=nope: must name a group or a key
train --cfg job -p latent.nope | --package=latent.nope: must name a group or a key
train --config-dir | --config-dir
train --config-dir nowhere | nowhere
train --config-name nope | --config-name=nope: no such file
train --config-name=nope | --config-name=nope: no such file
train -cn nope | nope
train latent=1 --nope=3 | --nope
train -m -x latent=1 | -x
report | required
report a b | unrecognized arguments: b
report . | .: there are no jobs of a sweep in it
report '' | '': must name a file or a folder
report nowhere | nowhere
report --nope x | --nope
report /dev/null | /dev/null
status | required
status nowhere | nowhere
status a b c | unrecognized arguments
status '' | '': must name a file or a folder
cancel | required
cancel nowhere | nowhere
cancel . | .: no sweep's folder
cancel '' | '': must name a file or a folder
tensorboard nowhere | nowhere
tensorboard --port text | --port
tensorboard --port | --port
tensorboard a b | unrecognized arguments
tensorboard '' | '': must name a file or a folder
evaluate | required
evaluate nowhere | nowhere
evaluate '' | '': must name a file or a folder
evaluate nowhere --output '' | '': must name a file or a folder
evaluate nowhere --noise a | --noise
evaluate nowhere --noise -1 | --noise
evaluate nowhere --noise nan | noise
evaluate nowhere --sigma text | --sigma
evaluate nowhere --data-seed 1.5 | --data-seed
evaluate nowhere --device nope | nowhere
evaluate nowhere --families | --families
denoise | required
denoise nowhere | required
denoise nowhere in.npy out.npy | in.npy
denoise nowhere in.npy '' | '': must name a file or a folder
denoise nowhere in.npy out.npy --noise -1 | --noise
denoise nowhere in.npy out.npy --noise nan | --noise
denoise nowhere in.npy out.npy --noise inf | --noise
denoise nowhere in.npy out.npy --noise 1e300 | argument --noise: 1e300: must be a number, 0 or more, at most 1e+14
denoise nowhere in.npy out.npy --seed x | --seed
denoise nowhere in.npy out.npy --level x | --level
denoise nowhere in.npy out.npy extra | unrecognized arguments: extra
export | required
export nowhere | required
export nowhere out.onnx | nowhere
export nowhere '' | '': must name a file or a folder
export nowhere out.onnx --seed -1 | --seed
export nowhere out.onnx --seed 1.5 | --seed
""".strip().splitlines()
"""Commands with status 2, each with what its one line on the standard error says."""

_WHOLE = {
    "seed": 0,
    "num_seeds": 1,
    "threads": 1,
    "latent.dim": 1,
    "noise.copies": 1,
    "noise.draws": 1,
    "data.seed": 0,
    "data.train_size": 1,
    "data.val_size": 1,
    "data.batch_size": 1,
    "data.signal_length": 2,
    "engine.steps_per_execution": 1,
    "trainer.max_epochs": 1,
    "trainer.check_val_every_n_epoch": 1,
    "trainer.num_nodes": 1,
    "trainer.log_every_n_steps": 1,
}
"""Whole numbers, and the least that is allowed."""

_FLAGS = ("data.fresh", "data.per_seed", "engine.torch_compile", "extend", "stack_seeds", "detach", "table")
_ABOVE_0 = ("data.sigma", "data.dt", "optimizer.lr")
_GROUPS = ("activation", "latent", "noise", "data", "model", "loss", "engine", "optimizer", "scheduler", "trainer", "callbacks")
_OWN_TRAINING = (  # callbacks which take the training into their own hands
    "GradientAccumulationScheduler +callbacks.e.scheduling={0:2}",
    "StochasticWeightAveraging +callbacks.e.swa_lrs=0.1",
    "EMAWeightAveraging",
    "BatchSizeFinder",
    "LearningRateFinder",
    "BackboneFinetuning",
)
_CALLBACK = "+callbacks.e._target_="
_NAMES = {"a line\nbreak": "a line break", "\x1b[31mred": "\\x1b[31mred", "tab\tbed": "tab bed", "long" * 2000: "longlong"}


KEYS = (*_WHOLE, *_FLAGS, *_ABOVE_0, *_GROUPS, "nope", "noise.eval_std", "optimizer.betas", "trainer.strategy", "sweep")
"""What can stand before an equals sign."""


def generated() -> Iterator[tuple[list[str], str]]:
    """More that is refused, for every key and every group: the arguments, and what the line says."""
    for key, least in _WHOLE.items():
        for value in ("text", "nan", "1.5", "[]", "true", "", str(least - 1)):
            yield ["train", f"{key}={value}"], key
    for key in _FLAGS:
        for value in ("3", "yes", "null", "[]"):
            yield ["train", f"{key}={value}"], f"{key}={value}: must be true or false"
    for key in _ABOVE_0:
        for value in ("text", "nan", "inf", "0", "[]", ""):
            yield ["train", f"{key}={value}"], key
    for group in (*_GROUPS, "logger", "experiment", "debug"):
        for option in ("nope", f"../{group}/x", "/etc/passwd", "1.5"):
            yield ["train", f"{group}={option}"], group
        yield ["train", f"{group}=nope,nope2", "-m"], group
    kind = "lightning.pytorch.callbacks."
    for each in _OWN_TRAINING:
        name, *rest = each.split()
        yield ["train", f"{_CALLBACK}{kind}{name}", *rest], f"callbacks.e._target_={kind}{name}: must be"
    for name in ("LearningRateMonitor", "DeviceStatsMonitor"):
        yield ["train", "logger=none", f"{_CALLBACK}{kind}{name}"], f"callbacks.e._target_={kind}{name}: must be"
    for value in ("3", "text", "[]"):
        never = f"callbacks.e.on_fit_start={value}"
        yield ["train", f"{_CALLBACK}{kind}LambdaCallback", f"+{never}"], f"{never}: must be null"
    stop = ["+callbacks.e.monitor=val/mse", "+callbacks.e.patience=-3"]
    yield ["train", f"{_CALLBACK}{kind}EarlyStopping", *stop], "callbacks.e.patience=-3: must be at least 0"
    for name, shown in _NAMES.items():
        quoted = f"'{name}'"
        for key in ("activation", "basis", "data.path", "optimizer._target_", "callbacks.best.monitor"):
            yield ["train", *(("data=file",) if key == "data.path" else ()), f"{key}={quoted}"], shown
        yield ["train", "-m", "latent=1,5", f"sweep={quoted}"], shown
        yield ["report", name], shown
        yield ["evaluate", name], shown
    yield ["train", f"hydra.run.dir={'x' * 300}"], "hydra.run.dir="
    yield ["train", f"hydra.run.dir=a/{'x' * 300}"], "hydra.run.dir="
    yield ["train", f"hydra.run.dir={'/'.join(['x' * 200] * 40)}"], "hydra.run.dir="
    yield ["train", f"logger.save_dir=a/{'x' * 300}"], "logger.save_dir="
    yield ["train", f"callbacks.best.filename={'x' * 300}"], "callbacks.best.filename="
    yield ["train", "x" * 5000], "not of the form key=value"
